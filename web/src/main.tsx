import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { Failure } from "./app/Failure";
import { openDesk } from "./app/desk";
import { applyTheme } from "./app/theme";
import "./base/base.css";

applyTheme();
createRoot(document.getElementById("page") as HTMLElement).render(
  <Failure>
    <App desk={openDesk()} />
  </Failure>,
);

// What is opened by a click later is fetched now, when nobody waits for it.
const soon = () => Promise.all([import("./inspector/Inspector"), import("./base/Sheet"), import("./connect/Setup"), import("./app/Keys")]);
addEventListener("load", () => setTimeout(() => void soon().catch(() => undefined), 1500));
