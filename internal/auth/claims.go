package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fanfare/protocol"
)

// maxDate is the end of the year 9999, the last that RFC 3339 can write.
const maxDate = 253402300799

// identity maps verified claims.
func (v *Verifier) identity(payload []byte) (protocol.Identity, error) {
	if len(payload) > maxClaimsBytes {
		return protocol.Identity{}, fmt.Errorf("%w: %d bytes of claims, at most %d", ErrTooLarge, len(payload), maxClaimsBytes)
	}
	claims, err := parseObject(payload)
	if err != nil {
		return protocol.Identity{}, fmt.Errorf("%w: claims: %w", ErrInvalid, err)
	}
	expires, err := v.checkTimes(claims)
	if err != nil {
		return protocol.Identity{}, err
	}
	if err := v.checkParties(claims); err != nil {
		return protocol.Identity{}, err
	}
	id, err := mapClaims(claims, v.claims)
	if err != nil {
		return protocol.Identity{}, err
	}
	id.Expires = expires
	return id, nil
}

func (v *Verifier) checkTimes(claims map[string]json.RawMessage) (expires time.Time, err error) {
	now := v.now()
	if expires, err = date(claims, "exp"); err != nil {
		return time.Time{}, err
	}
	notBefore, err := date(claims, "nbf")
	if err != nil {
		return time.Time{}, err
	}
	if !expires.IsZero() && !now.Before(expires) {
		return time.Time{}, fmt.Errorf("%w %s ago", ErrExpired, now.Sub(expires).Round(time.Second))
	}
	if !notBefore.IsZero() && now.Add(v.leeway).Before(notBefore) {
		return time.Time{}, fmt.Errorf("%w: for another %s", ErrNotYetValid, notBefore.Sub(now).Round(time.Second))
	}
	return expires, nil
}

// date reads a NumericDate; the zero time when it is absent or null.
func date(claims map[string]json.RawMessage, name string) (time.Time, error) {
	raw, there := claims[name]
	if !there || string(raw) == "null" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds > maxDate || seconds < -maxDate {
		return time.Time{}, fmt.Errorf("%w: %s is not a date in seconds", ErrClaims, name)
	}
	whole, frac := math.Modf(seconds)
	return time.Unix(int64(whole), int64(frac*1e9)), nil
}

func (v *Verifier) checkParties(claims map[string]json.RawMessage) error {
	if v.issuer != "" {
		if iss, err := stringValue(claims["iss"]); err != nil || iss != v.issuer {
			return fmt.Errorf("%w: iss is not the configured issuer", ErrInvalid)
		}
	}
	if v.audience == "" {
		return nil
	}
	raw := claims["aud"]
	if aud, err := stringValue(raw); err == nil && aud == v.audience {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, entry := range list {
			if aud, err := stringValue(entry); err == nil && aud == v.audience {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: aud does not name the configured audience", ErrInvalid)
}

// mapClaims reads who the token is for.
func mapClaims(claims map[string]json.RawMessage, names Claims) (protocol.Identity, error) {
	id := protocol.Identity{Authenticated: true}
	var err error
	if id.DboID, err = dboID(lookup(claims, names.DboID)); err != nil {
		return protocol.Identity{}, fmt.Errorf("%w: %.64q: %w", ErrClaims, names.DboID, err)
	}
	if id.RowID, err = rowID(lookup(claims, names.RowID)); err != nil {
		return protocol.Identity{}, fmt.Errorf("%w: %.64q: %w", ErrClaims, names.RowID, err)
	}
	if id.Extras, err = extras(lookup(claims, names.Extras)); err != nil {
		return protocol.Identity{}, fmt.Errorf("%w: %.64q: %w", ErrClaims, names.Extras, err)
	}
	return id, nil
}

// lookup finds a claim by its literal name or, failing that, as a path through nested objects. nil = absent.
func lookup(object map[string]json.RawMessage, name string) json.RawMessage {
	if value, there := object[name]; there {
		return value
	}
	for i := range len(name) {
		if name[i] != '.' {
			continue
		}
		value, there := object[name[:i]]
		if !there || len(value) == 0 || value[0] != '{' {
			continue
		}
		var inner map[string]json.RawMessage
		if json.Unmarshal(value, &inner) != nil {
			continue
		}
		if found := lookup(inner, name[i+1:]); found != nil {
			return found
		}
	}
	return nil
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func dboID(raw json.RawMessage) (int64, error) {
	if absent(raw) {
		return 0, nil
	}
	text := string(raw)
	if text[0] == '"' {
		s, err := stringValue(raw)
		if err != nil {
			return 0, err
		}
		text = s
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, errors.New("must be an integer from 0")
	}
	return n, nil
}

func rowID(raw json.RawMessage) (protocol.RowID, error) {
	if len(raw) > 6*maxRowIDBytes+2 {
		return "", fmt.Errorf("longer than %d bytes", maxRowIDBytes)
	}
	id, err := protocol.ParseRowID(raw)
	if err != nil {
		return "", err
	}
	text := id.Text()
	if len(text) > maxRowIDBytes {
		return "", fmt.Errorf("longer than %d bytes", maxRowIDBytes)
	}
	// Escapes of lone surrogates all read as U+FFFD: different users would become one.
	if strings.ContainsRune(text, utf8.RuneError) {
		return "", errors.New("holds U+FFFD or a broken escape")
	}
	return id, nil
}

func extras(raw json.RawMessage) (json.RawMessage, error) {
	if absent(raw) {
		return nil, nil
	}
	if raw[0] != '{' {
		return nil, errors.New("must be an object")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, errors.New("must be an object")
	}
	if b.Len() > MaxExtrasBytes {
		return nil, fmt.Errorf("%d bytes, at most %d", b.Len(), MaxExtrasBytes)
	}
	if b.Len() == len("{}") {
		return nil, nil
	}
	return b.Bytes(), nil
}
