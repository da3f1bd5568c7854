// Package protocol holds the words on the wire: channel names, frames, codes, positions and limits.
//
// It knows no sockets, no broker and no rules; everything here is a value or a pure function, safe for
// concurrent use unless its comment says otherwise. The wire is Xano Realtime's Legacy protocol with the
// optional extensions of Fanfare's contract: ids and offsets, ref/ack, resume, pattern join, history
// paging and presence data.
//
// Wire names differ from ours in a few places; this is the only mapping:
//
//	wire                     here
//	client object            Member (one presence entry, and the sender of a message)
//	socketId                 SessionID
//	permissions.dbo_id       Identity table, DboID
//	permissions.row_id       RowID
//	connection hash          the address of a realtime server (ServerID inside)
//	message, event           Publication
package protocol
