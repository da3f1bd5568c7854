package bench

import "time"

// Result is what a run found. What a scenario does not measure is left out of its JSON.
type Result struct {
	Scenario    Scenario  `json:"scenario"`
	URLs        []string  `json:"urls"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"` // that were measured
	Connections int       `json:"connections"`
	Channels    int       `json:"channels"`
	Members     int       `json:"members"`
	Rate        float64   `json:"rate,omitempty"`
	Size        int       `json:"size,omitempty"`

	Connect   *Connect `json:"connect,omitempty"`
	Reconnect *Connect `json:"reconnect,omitempty"`

	Deliveries *Deliveries `json:"deliveries,omitempty"`
	Latency    *Latency    `json:"latency,omitempty"` // from when it was due
	Late       *Latency    `json:"late,omitempty"`    // how long after it was due the generator sent it

	Presence *PresenceFigures `json:"presence,omitempty"`
	History  *HistoryFigures  `json:"history,omitempty"`

	Server    *Server   `json:"server,omitempty"`
	Generator Generator `json:"generator"`

	Disconnects map[string]int64 `json:"disconnects,omitempty"` // by reason
	Errors      map[string]int64 `json:"errors,omitempty"`      // error frames and refused events, by code
	Problems    []string         `json:"problems,omitempty"`    // why the run does not count as good
	Notes       []string         `json:"notes,omitempty"`       // what to know about the figures
}

// OK tells whether nothing was lost.
func (x *Result) OK() bool { return len(x.Problems) == 0 }

// Connect is how opening sockets went, their joins included.
type Connect struct {
	Sockets   int      `json:"sockets"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	Busy      int64    `json:"busy"`    // upgrades answered 503 or 429, tried again
	Latency   *Latency `json:"latency"` // of connect, upgrade and joins, waits after a 503 included
	CPU       float64  `json:"server_us_per_connect,omitempty"`
}

// Deliveries counts messages times those who should get them.
type Deliveries struct {
	Sent       int64   `json:"sent"` // messages
	Expected   int64   `json:"expected"`
	Received   int64   `json:"received"` // each once
	Lost       int64   `json:"lost"`
	Duplicates int64   `json:"duplicates"`
	OutOfOrder int64   `json:"out_of_order"` // behind a later one of the same sender
	PerSecond  float64 `json:"per_second"`
	PerRead    float64 `json:"per_read"` // messages for each read of the generator
	Foreign    int64   `json:"foreign"`  // messages of others on the same channels
}

// PresenceFigures are of joins and leaves as observers saw them.
type PresenceFigures struct {
	Observers     int      `json:"observers"`
	JoinsExpected int64    `json:"joins_expected"`
	JoinsSeen     int64    `json:"joins_seen"`
	LeavesSeen    int64    `json:"leaves_seen"`
	JoinSeconds   float64  `json:"join_seconds"`  // from the first join until all observers had all
	LeaveSeconds  float64  `json:"leave_seconds"` // from the cut of all sockets
	JoinLatency   *Latency `json:"join_latency"`  // from the join to each observer
	LeaveLatency  *Latency `json:"leave_latency"`
}

// HistoryFigures are of reads.
type HistoryFigures struct {
	Stored       int      `json:"stored"`
	StoreLatency *Latency `json:"store_latency"` // of a stored message until its acknowledgement
	Kept         int      `json:"kept"`          // messages that one answer has
	Requests     int64    `json:"requests"`
	Answered     int64    `json:"answered"`
	Incomplete   int64    `json:"incomplete"` // with fewer messages
	PerSecond    float64  `json:"per_second"`
	MBPerSecond  float64  `json:"mb_per_second"`
}

// Server is what the gateways used, as they tell on their operations addresses.
type Server struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	Cores         float64 `json:"cores"`
	PerMillion    float64 `json:"cpu_seconds_per_million_deliveries,omitempty"`
	RSSMiB        float64 `json:"rss_mib"`
	KiBPerSocket  float64 `json:"kib_per_connection,omitempty"`
	HeapPerSocket float64 `json:"heap_kib_per_connection,omitempty"`
	StackPer      float64 `json:"stack_kib_per_connection,omitempty"`
	Flushes       float64 `json:"flushes,omitempty"`
}

// Generator is what this process used.
type Generator struct {
	CPUSeconds  float64 `json:"cpu_seconds"`
	Cores       float64 `json:"cores"`
	CPUs        int     `json:"cpus"`         // it may use
	MachineIdle float64 `json:"machine_idle"` // 0 to 1; -1 = unknown
	Bottleneck  string  `json:"bottleneck,omitempty"`
}

func round(f float64, digits int) float64 {
	scale := 1.0
	for range digits {
		scale *= 10
	}
	if f < 0 {
		return float64(int64(f*scale-0.5)) / scale
	}
	return float64(int64(f*scale+0.5)) / scale
}
