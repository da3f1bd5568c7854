export { Fanfare } from "./client.js";
export { Channel } from "./channel.js";
export { FanfareError } from "./errors.js";
export type * from "./types.js";
