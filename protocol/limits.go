package protocol

import "time"

// Limits bound what one client may ask for. The zero value is not usable; DefaultLimits is.
type Limits struct {
	MessageBytes    int // data of one frame; a socket that sends 16 times as much is closed
	ChannelBytes    int
	ChannelSegments int
	Channels        int // per socket
	JSONDepth       int // of a whole frame
	FramesPerSecond int // per socket; 0 = off
	FramesBurst     int
	HistoryFrames   int // in one answer
	PresenceData    int // bytes of one entry's data
}

// DefaultLimits are those of the contract (design.md 8).
func DefaultLimits() Limits {
	return Limits{
		MessageBytes: 64 << 10, ChannelBytes: 200, ChannelSegments: 16, Channels: 128, JSONDepth: 128,
		FramesPerSecond: 100, FramesBurst: 200, HistoryFrames: 1000, PresenceData: 4 << 10,
	}
}

// DedupeWindow is how long the same id or ref counts as the same publication.
const DedupeWindow = 30 * time.Second

// PublishDeadline is how long a publish may stay unanswered: longer than a broker election (nats.md 6).
const PublishDeadline = 12 * time.Second
