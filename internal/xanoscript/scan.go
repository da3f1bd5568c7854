package xanoscript

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// SyntaxError is what Parse returns for a text that it does not understand.
type SyntaxError struct {
	Line, Column int // from 1; the column counts bytes
	Text         string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Text) }

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // true, settings, 100
	tokenString           // unescaped in text
	tokenMark             // one of { } [ ] = : ,
	tokenOther            // any other character; only inside blocks that are passed over
)

type token struct {
	kind         tokenKind
	text         string
	line, column int
	// first: nothing but spaces stands before it on its line.
	first bool
}

func (t token) is(mark string) bool { return t.kind == tokenMark && t.text == mark }

func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the text"
	case tokenString:
		return "a string"
	case tokenWord, tokenMark, tokenOther:
	}
	return strconv.Quote(t.text)
}

// scanner cuts a text into tokens.
type scanner struct {
	text      string
	i         int
	line      int
	lineStart int
}

func (s *scanner) fail(at int, format string, args ...any) error {
	return &SyntaxError{Line: s.line, Column: at - s.lineStart + 1, Text: fmt.Sprintf(format, args...)}
}

func (t token) fail(format string, args ...any) error {
	return &SyntaxError{Line: t.line, Column: t.column, Text: fmt.Sprintf(format, args...)}
}

// blank passes over spaces and comments.
func (s *scanner) blank() (first bool) {
	first = strings.TrimLeft(s.text[s.lineStart:s.i], " \t\r") == ""
	for s.i < len(s.text) {
		switch c := s.text[s.i]; {
		case c == '\n':
			s.newline()
			first = true
		case c == ' ' || c == '\t' || c == '\r':
			s.i++
		case strings.HasPrefix(s.text[s.i:], "//"):
			if end := strings.IndexByte(s.text[s.i:], '\n'); end >= 0 {
				s.i += end
			} else {
				s.i = len(s.text)
			}
		default:
			return first
		}
	}
	return first
}

// newline passes over the line break at the cursor.
func (s *scanner) newline() {
	s.i++
	s.line++
	s.lineStart = s.i
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (s *scanner) next() (token, error) {
	first := s.blank()
	t := token{line: s.line, column: s.i - s.lineStart + 1, first: first}
	if s.i >= len(s.text) {
		return t, nil
	}
	start := s.i
	switch c := s.text[s.i]; {
	case strings.IndexByte("{}[]=:,", c) >= 0:
		s.i++
		t.kind = tokenMark
	case c == '"':
		text, err := s.str()
		t.kind, t.text = tokenString, text
		return t, err
	case isWord(c):
		for s.i < len(s.text) && isWord(s.text[s.i]) {
			s.i++
		}
		t.kind = tokenWord
	default:
		_, size := utf8.DecodeRuneInString(s.text[s.i:])
		s.i += size
		t.kind = tokenOther
	}
	t.text = s.text[start:s.i]
	return t, nil
}

// str reads a string: "…" with escapes on one line, or """…""" as it stands over many.
func (s *scanner) str() (string, error) {
	const long = `"""`
	start := s.i
	if strings.HasPrefix(s.text[s.i:], long) {
		end := strings.Index(s.text[s.i+len(long):], long)
		if end < 0 {
			return "", s.fail(start, "this string does not end")
		}
		text := s.text[s.i+len(long):][:end]
		stop := s.i + len(long) + end
		for s.i < stop {
			if s.text[s.i] == '\n' {
				s.newline()
			} else {
				s.i++
			}
		}
		s.i += len(long)
		return text, nil
	}
	var b strings.Builder
	for s.i++; s.i < len(s.text); s.i++ {
		switch c := s.text[s.i]; c {
		case '"':
			s.i++
			return b.String(), nil
		case '\n':
			return "", s.fail(start, "this string does not end on its line")
		case '\\':
			if err := s.escape(&b); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", s.fail(start, "this string does not end")
}

// escape reads what follows a backslash and leaves the cursor on its last byte.
func (s *scanner) escape(b *strings.Builder) error {
	at := s.i
	s.i++
	if s.i >= len(s.text) {
		return s.fail(at, "this string does not end")
	}
	switch c := s.text[s.i]; c {
	case '"', '\\', '/', '\'':
		b.WriteByte(c)
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'u':
		if s.i+4 >= len(s.text) {
			return s.fail(at, "\\u needs four hexadecimal digits")
		}
		n, err := strconv.ParseUint(s.text[s.i+1:s.i+5], 16, 16)
		if err != nil {
			return s.fail(at, "\\u needs four hexadecimal digits")
		}
		b.WriteRune(rune(n)) // half of a pair becomes U+FFFD, as in JSON
		s.i += 4
	default:
		return s.fail(at, "unknown escape \\%c", c)
	}
	return nil
}
