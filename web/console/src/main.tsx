import { CSPProvider } from "@base-ui/react/csp-provider";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.js";
import { Toasts } from "./ui.js";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import "./pages.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <CSPProvider disableStyleElements>
      <Toasts>
        <App />
      </Toasts>
    </CSPProvider>
  </StrictMode>,
);
