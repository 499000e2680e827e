import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { openDesk } from "./app/desk";
import { applyTheme } from "./app/theme";
import "./base/base.css";

applyTheme();
createRoot(document.getElementById("page") as HTMLElement).render(<App desk={openDesk()} />);

// What is opened by a click later is fetched now, when nobody waits for it.
addEventListener("load", () => setTimeout(() => void Promise.all([import("./inspector/Inspector"), import("./base/Sheet"), import("./connect/Setup"), import("./app/Keys")]), 1500));
