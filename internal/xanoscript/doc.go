// Package xanoscript reads and writes channel rules in Xano's script form, blocks named realtime_channel
// (xano-realtime.md 2.2):
//
//	realtime_channel "chat" {
//	  description = "everybody talks"
//	  active = true
//	  public_messaging = { active: true, auth: false }
//	  private_messaging = { active: false, auth: false }
//	  settings = {
//	    anonymous_clients: true
//	    nested_channels: true
//	    message_history: 100
//	    auth_channel: false
//	    presence: true
//	  }
//	}
//
// Only these blocks are understood. Any other block of a file, such as a realtime_trigger with its code, is
// passed over as a whole and noted; so is a field that a rule does not have. Nothing is passed over without a
// note, and what is wrong is an error with its line and column.
//
// Everything here is a pure function without state. Parse takes time and memory in proportion to the text, and
// bounds the nesting, so that it may be given anything.
package xanoscript
