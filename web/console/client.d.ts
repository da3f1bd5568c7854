// At run time ../client.js is the client as the server serves it.
export * from "../client/dist/types/index.js";
