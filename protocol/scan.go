package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// Errors of the scanner; Decode turns them into an Error for the client.
var (
	errSyntax = errors.New("not valid JSON")
	errDepth  = errors.New("nested too deeply")
)

// scanner walks one JSON text that is known to be valid UTF-8. It checks the grammar of RFC 8259 and hands
// out values as subslices of the text: nothing is copied, so that a payload goes out as it came in.
type scanner struct {
	b     []byte
	i     int
	depth int
	max   int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// object calls field for each member of the object at the cursor, with the cursor on the member's value;
// field must consume that value. The key is unescaped.
func (s *scanner) object(field func(key []byte) error) error {
	if s.i >= len(s.b) || s.b[s.i] != '{' {
		return errSyntax
	}
	if s.depth++; s.depth > s.max {
		return errDepth
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == '}' {
		s.i++
		s.depth--
		return nil
	}
	for {
		s.space()
		raw, err := s.str()
		if err != nil {
			return err
		}
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != ':' {
			return errSyntax
		}
		s.i++
		s.space()
		if err := field(unquote(raw)); err != nil {
			return err
		}
		s.space()
		if s.i >= len(s.b) {
			return errSyntax
		}
		switch s.b[s.i] {
		case ',':
			s.i++
		case '}':
			s.i++
			s.depth--
			return nil
		default:
			return errSyntax
		}
	}
}

// value consumes one value of any type and gives its text.
func (s *scanner) value() ([]byte, error) {
	start := s.i
	if err := s.skip(); err != nil {
		return nil, err
	}
	return s.b[start:s.i], nil
}

// skip consumes one value. It keeps its own bracket stack in a bit set rather than recursing, so that deep
// input costs no stack: readers of sockets live on 2 KiB.
func (s *scanner) skip() error {
	var stack bracketStack
	base := s.depth
	for {
		s.space()
		if s.i >= len(s.b) {
			return errSyntax
		}
		// One value, or the opening of one.
		switch c := s.b[s.i]; {
		case c == '{' || c == '[':
			if s.depth++; s.depth > s.max {
				return errDepth
			}
			object := c == '{'
			stack.push(s.depth-base, object)
			s.i++
			s.space()
			if s.i >= len(s.b) {
				return errSyntax
			}
			if s.b[s.i] == '}' && object || s.b[s.i] == ']' && !object {
				s.i++
				s.depth--
				break
			}
			if object {
				if err := s.key(); err != nil {
					return err
				}
			}
			continue
		case c == '"':
			if _, err := s.str(); err != nil {
				return err
			}
		case c == '-' || c >= '0' && c <= '9':
			if err := s.number(); err != nil {
				return err
			}
		case c == 't':
			if err := s.literal("true"); err != nil {
				return err
			}
		case c == 'f':
			if err := s.literal("false"); err != nil {
				return err
			}
		case c == 'n':
			if err := s.literal("null"); err != nil {
				return err
			}
		default:
			return errSyntax
		}
		// What follows a value: the end, a comma, or the closing of what it stands in.
		for {
			if s.depth == base {
				return nil
			}
			s.space()
			if s.i >= len(s.b) {
				return errSyntax
			}
			object := stack.object(s.depth - base)
			c := s.b[s.i]
			s.i++
			if c == ',' {
				if object {
					s.space()
					if err := s.key(); err != nil {
						return err
					}
				}
				break
			}
			if c == '}' && object || c == ']' && !object {
				s.depth--
				continue
			}
			return errSyntax
		}
	}
}

// key consumes a member's name and the colon behind it.
func (s *scanner) key() error {
	s.space()
	if _, err := s.str(); err != nil {
		return err
	}
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != ':' {
		return errSyntax
	}
	s.i++
	return nil
}

// str consumes a string and gives its text with quotes and escapes.
func (s *scanner) str() ([]byte, error) {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return nil, errSyntax
	}
	start := s.i
	for i := s.i + 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return s.b[start:s.i], nil
		case c < 0x20:
			return nil, errSyntax
		case c == '\\':
			i++
			if i >= len(s.b) {
				return nil, errSyntax
			}
			switch s.b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if i+4 >= len(s.b) {
					return nil, errSyntax
				}
				for _, h := range s.b[i+1 : i+5] {
					if !isHex(h) {
						return nil, errSyntax
					}
				}
				i += 4
			default:
				return nil, errSyntax
			}
		}
	}
	return nil, errSyntax
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return errSyntax
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return errSyntax
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return errSyntax
		}
	}
	return nil
}

func (s *scanner) literal(word string) error {
	if end := s.i + len(word); end > len(s.b) || string(s.b[s.i:end]) != word {
		return errSyntax
	}
	s.i += len(word)
	return nil
}

// unquote gives the text of a JSON string that str has checked: a part of raw when nothing in it is escaped.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil // not after str
	}
	return []byte(out)
}

// broken tells whether a string that str has checked holds the escape of half a surrogate pair: it stands for no
// character, and what it was in two names would make them one.
func broken(raw []byte) bool {
	for i := bytes.IndexByte(raw, '\\'); i >= 0 && i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if i++; raw[i] != 'u' {
			continue
		}
		r := rune(hex4(raw[i+1:]))
		i += 4
		if !utf16.IsSurrogate(r) {
			continue
		}
		if i+6 >= len(raw) || raw[i+1] != '\\' || raw[i+2] != 'u' || utf16.DecodeRune(r, rune(hex4(raw[i+3:]))) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// hex4 reads four hexadecimal digits that str has checked.
func hex4(digits []byte) (n uint16) {
	for _, c := range digits[:4] {
		if c <= '9' {
			c -= '0'
		} else {
			c = (c | 0x20) - 'a' + 10
		}
		n = n<<4 | uint16(c)
	}
	return n
}

// bracketStack remembers for each open bracket whether it is an object. The limit on depth bounds it; the
// first 256 levels cost no allocation.
type bracketStack struct {
	low  [4]uint64
	high []uint64
}

func (s *bracketStack) push(level int, object bool) {
	word, bit := (level-1)/64, uint(level-1)%64
	p := s.word(word)
	if object {
		*p |= 1 << bit
	} else {
		*p &^= 1 << bit
	}
}

func (s *bracketStack) object(level int) bool {
	return *s.word((level - 1) / 64)>>(uint(level-1)%64)&1 == 1
}

func (s *bracketStack) word(n int) *uint64 {
	if n < len(s.low) {
		return &s.low[n]
	}
	for n-len(s.low) >= len(s.high) {
		s.high = append(s.high, 0)
	}
	return &s.high[n-len(s.low)]
}
