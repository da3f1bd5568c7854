// Package config reads the configuration of a node and of the tools.
//
// One value, Config, holds everything an operator can set. Load fills it from, in this order, the built-in
// defaults, a YAML file, the environment and the command line; what comes later wins, key by key. The list of
// keys in keys.go is the only place that knows a key's name, its environment variable, its kind and its
// meaning: the reader, the error texts and docs/configuration.md all come from it.
//
// What is wrong is returned as Problems, one line each, every line naming the key and the place that set it.
// The text of a secret never gets into a problem, a log line or a dump: see Secret.
//
// A Config is plain data. It is not safe to change while others read it, and nobody needs to: it is made once.
package config
