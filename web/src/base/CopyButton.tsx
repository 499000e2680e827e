import { useEffect, useState } from "react";
import { Icon } from "./Icon";

/** Puts text on the clipboard, also where the page has no right to the modern way. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ text, label = "Copy", quiet = false }: { text: string; label?: string; quiet?: boolean }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (copied) {
      const timer = setTimeout(() => setCopied(false), 1600);
      return () => clearTimeout(timer);
    }
    return undefined;
  }, [copied]);
  return (
    <button type="button" className={`button small${quiet ? " quiet" : ""}${copied ? " copied" : ""}`} onClick={() => void copyText(text).then(setCopied)}>
      <Icon name={copied ? "check" : "copy"} />
      {label}
      <span className="off-screen" role="status">
        {copied ? "Copied" : ""}
      </span>
    </button>
  );
}
