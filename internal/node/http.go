package node

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	"fanfare/internal/api"
	"fanfare/internal/pages"
	webclient "fanfare/web/client"
	webdemo "fanfare/web/demo"
)

// serveHTTP is every request that is not a socket; before the node is ready only an answer that says so.
func (n *Node) serveHTTP(w http.ResponseWriter, r *http.Request) {
	n.gateway.AwaitStart(r.Context())
	r.RemoteAddr = n.proxies.Client(r.RemoteAddr, r.Header)
	if h := n.http.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "2")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"code":"starting","message":"This gateway is starting. Try again."}` + "\n"))
}

// mountHTTP says what lives where on the public listener (design.md 2.3).
func (n *Node) mountHTTP() error {
	var keys []string
	for _, k := range n.cfg.APIKeys {
		// The scope is written out, because a key may hold colons.
		text := k.Key.Reveal() + ":" + cmp.Or(string(k.Scope), "all")
		if k.Server > 0 {
			text += "@" + strconv.FormatInt(k.Server, 10)
		}
		keys = append(keys, text)
	}
	l := n.cfg.Limits
	var events api.Lifecycle // nil when it is off
	if n.lifecycle != nil {
		events = lifecycleReader{n.lifecycle}
	}
	var err error
	n.api, err = api.New(api.Options{
		Settings: n.settings, Backend: &backend{n}, Lifecycle: events, AdminToken: n.cfg.AdminToken.Reveal(), APIKeys: keys,
		Limits: api.Limits{
			MessageBytes: l.MessageBytes, JSONDepth: l.JSONDepth, ChannelBytes: l.ChannelBytes,
			ChannelSegments: l.ChannelSegments, HistoryFrames: l.HistoryFrames,
		},
		Registerer: n.reg, Logger: n.log,
	})
	if err != nil {
		return err
	}
	client := webclient.Handler()
	demo, err := webdemo.Handler(demoPath)
	if err != nil {
		return err
	}
	console, err := n.console()
	if err != nil {
		return err
	}
	toConsole, toDemo := pages.Redirect(consolePath), pages.Redirect(demoPath)
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasPrefix(path, "/rt/"):
			n.gateway.ServeHTTP(w, r)
		case path == "/client.js":
			client.ServeHTTP(w, r)
		case strings.HasPrefix(path, consolePath):
			console.ServeHTTP(w, r)
		case path+"/" == consolePath:
			toConsole.ServeHTTP(w, r)
		case n.hasDemo() && strings.HasPrefix(path, demoPath):
			demo.ServeHTTP(w, r)
		case n.hasDemo() && path+"/" == demoPath, n.opts.Dev && path == "/":
			toDemo.ServeHTTP(w, r)
		default:
			n.api.ServeHTTP(w, r)
		}
	})
	n.http.Store(&h)
	return nil
}

// demoPath is where the support chat lives; `fanfare dev` shows it first.
const demoPath = "/demo/"

func (n *Node) hasDemo() bool { return n.opts.Dev || n.cfg.Demo }
