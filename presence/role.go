package presence

// Janitor tells whether this gateway is the one that cleans up behind lost ones: the living one with the lowest id.
// For a while, none or two may think so.
func (d *Directory) Janitor() bool { return d.janitor.Load() }
