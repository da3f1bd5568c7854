// At run time ../client.js is the client as the server serves it.
declare module "*/client.js" {
  export * from "../client/dist/types/index.js";
}
declare module "*.css";
