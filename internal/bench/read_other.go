//go:build !unix

package bench

func (c *conn) readAll() error { return c.readPlain() }
