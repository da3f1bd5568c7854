// Command load is what test/k8s/run watches a cluster with: clients that follow, send and look who is there, through
// whatever faults the script makes. It prints one line of JSON a second, takes commands on standard input (`mark`
// begins a phase, `stop` ends all), and says at the end whether every promise was kept. With -idle it only holds
// sockets open.
package main
