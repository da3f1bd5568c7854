// Package consoleapi is what the web console talks to: /console/api/. It signs people in with the admin token, hands
// their requests on to the HTTP API, and tells what goes on now.
//
// A session is a cookie and nothing else: when it ends, a number and a MAC whose key comes from the admin token. So
// every gateway with the same admin token knows it, a restart ends nobody's work, another token ends all sessions,
// and sessions take no memory. What is remembered are those signed out before their time, on the gateway that was
// asked, at most maxRevoked of them.
//
// Requests carry the header X-Fanfare-Console, which a page of another origin cannot send without asking, and come
// from the same origin where the browser says so. The admin token is never in a URL or in an answer.
//
// All methods may be called from many goroutines. There are no goroutines of its own.
package consoleapi
