// Package natstest starts NATS servers with JetStream inside a test: on loopback, with
// ports that stay theirs, files under t.TempDir, stopped by t.Cleanup.
package natstest

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"fanfare/internal/freeport"
)

// patience only guards against waiting for ever. An election takes 4 to 9 s, a machine that does other things beside needs a
// second one now and then, and what is waited for begins behind it.
const patience = time.Minute

// Node is one server. Its address and its files stay when it is stopped and started again.
type Node struct {
	Name string
	o    server.Options
	srv  *server.Server
}

// Single starts a server on its own.
func Single(t testing.TB) *Node {
	t.Helper()
	n := &Node{Name: "single", o: options("single", t.TempDir(), freePort(t))}
	n.Start(t)
	t.Cleanup(n.Stop)
	return n
}

func options(name, dir string, port int) server.Options {
	return server.Options{
		ServerName: name, Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 4 << 30,
		SyncInterval: time.Second, MaxPending: 256 << 20, DisableJetStreamBanner: true,
	}
}

// Start starts a stopped server and waits until it accepts connections.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	o := n.o
	srv, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		srv.Shutdown()
		t.Fatalf("%s is not ready", n.Name)
	}
	n.srv = srv
}

// Stop ends the server as SIGTERM does, and waits. A stopped one stays so.
func (n *Node) Stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.srv = nil
	}
}

// URL is the address for clients.
func (n *Node) URL() string { return "nats://127.0.0.1:" + strconv.Itoa(n.o.Port) }

// Server is the running server, or nil.
func (n *Node) Server() *server.Server { return n.srv }

// Cluster is several servers with one JetStream.
type Cluster struct {
	Nodes []*Node
}

// NewCluster starts n servers and waits for their meta leader.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	dir := t.TempDir()
	var routes []*url.URL
	ports := make([]int, n)
	for i := range ports {
		ports[i] = freePort(t)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))})
	}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		o := options(name, filepath.Join(dir, name), freePort(t))
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
		o.Routes = routes
		c.Nodes = append(c.Nodes, &Node{Name: name, o: o})
	}
	t.Cleanup(func() {
		for _, node := range c.Nodes {
			node.Stop()
		}
	})
	for _, node := range c.Nodes {
		node.Start(t)
	}
	Eventually(t, "a meta leader that knows all servers", func() bool {
		for _, node := range c.Nodes {
			if node.srv.JetStreamIsLeader() {
				return len(node.srv.JetStreamClusterPeers()) == n
			}
		}
		return false
	})
	return c
}

// AwaitInterest waits until the server knows that another one of its cluster has subscribers of all these subjects.
func (n *Node) AwaitInterest(t testing.TB, subjects ...string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("%s to know of %v", n.Name, subjects), func() bool {
		routes, err := n.srv.Routez(&server.RoutezOptions{Subscriptions: true})
		if err != nil {
			t.Fatal(err)
		}
		var known []string
		for _, r := range routes.Routes {
			known = append(known, r.Subs...)
		}
		return !slices.ContainsFunc(subjects, func(s string) bool { return !slices.Contains(known, s) })
	})
}

// URLs are the addresses for clients.
func (c *Cluster) URLs() (urls []string) {
	for _, n := range c.Nodes {
		urls = append(urls, n.URL())
	}
	return urls
}

// Leader is the node that leads a stream, or nil.
func (c *Cluster) Leader(stream string) *Node {
	for _, n := range c.Nodes {
		if n.srv != nil && n.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return n
		}
	}
	return nil
}

// WaitLeader waits until a stream has a leader.
func (c *Cluster) WaitLeader(t testing.TB, stream string) (leader *Node) {
	t.Helper()
	Eventually(t, "a leader of "+stream, func() bool {
		leader = c.Leader(stream)
		return leader != nil
	})
	return leader
}

// Eventually waits for a condition and fails the test when it does not come.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		<-tick.C
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return int(netip.MustParseAddrPort(addr).Port())
}
