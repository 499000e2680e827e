import { CopyButton } from "./CopyButton";
import "./snippet.css";

/** Text to be copied and pasted elsewhere. */
export function Snippet({ text, label, prose = false }: { text: string; label: string; prose?: boolean }) {
  return (
    <div className={prose ? "snippet snippet-prose" : "snippet"}>
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
      <CopyButton text={text} />
    </div>
  );
}
