//go:build !linux

package gateway

import (
	"io"
	"net"
)

func newReader(nc net.Conn) io.Reader { return nc }
