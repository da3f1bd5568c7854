package node

// Ready tells whether sockets are taken: not while the node starts, and not once it drains.
func (n *Node) Ready() bool { return n.gateway.Ready() }
