// Package tracing sends spans of sampled publications to an OpenTelemetry collector, as OTLP over HTTP in its JSON form.
//
// Whether a publication is sampled, the number of its trace and of the trace's first span follow from the publication's
// server, channel and id alone: every gateway comes to the same answer without being told, so that nothing travels with
// a message but what does anyway, and a message that is not sampled costs one hash. With another ratio on another
// gateway a trace is there in part.
//
// New builds and starts nothing. Run sends what was recorded, at least once a second, until its context ends, and then
// what is left. Record never blocks: a full queue drops, and counts. When the collector is out of reach a batch is tried
// twice and given up.
//
// Why not the OpenTelemetry SDK: docs/decisions/0021-tracing.md.
package tracing
