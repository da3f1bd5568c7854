'use strict';
// Channel rules in the words of the settings' JSON.

const rule = (pattern, flags = {}) => ({ pattern, enabled: true, ...flags });

/** Everybody may join, see who is there and write. */
const open = (pattern, flags = {}) => rule(pattern, { anonymous_clients: true, presence: true, client_public_messaging: true, ...flags });

const nested = (pattern, flags = {}) => open(pattern, { wildcard: true, ...flags });

module.exports = { rule, open, nested };
