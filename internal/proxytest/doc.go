// Package proxytest runs the proxy configurations of deploy/ in front of three gateways: real haproxy, nginx and Caddy,
// real TLS, Xano's SDK in Node. It changes nothing in the configurations but addresses, certificates' places and times
// that no test can wait for.
package proxytest
