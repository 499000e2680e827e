import { type KeyboardEvent, type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Icon } from "../base/Icon";
import type { Store } from "../log/store";
import "./composer.css";

const DRAFT_PAUSE_MS = 200;

interface Props {
  session: string;
  store: Pick<Store, "draft" | "keepDraft">;
  /** What will happen to the message. */
  outlook: string;
  tone: "calm" | "good" | "warn";
  closed: boolean;
  onSend: (text: string) => void;
  onNew: () => void;
  field: RefObject<HTMLTextAreaElement | null>;
  /** Text to take over, such as that of a refused message. */
  handed: { text: string } | undefined;
}

/** Where one writes. It grows to eight lines; below it stands what will happen. */
export function Composer({ session, store, outlook, tone, closed, onSend, onNew, field, handed }: Props) {
  const [text, setText] = useState("");
  const saved = useRef("");

  useEffect(() => {
    let current = true;
    setText("");
    saved.current = "";
    store
      .draft(session)
      .then((draft) => {
        if (current && draft !== "") {
          saved.current = draft;
          setText((typed) => (typed === "" ? draft : typed));
        }
      })
      .catch(() => undefined);
    return () => {
      current = false;
    };
  }, [session, store]);

  useEffect(() => {
    if (text === saved.current) {
      return undefined;
    }
    const keep = () => {
      saved.current = text;
      store.keepDraft(session, text).catch(() => undefined);
    };
    const timer = setTimeout(keep, DRAFT_PAUSE_MS);
    addEventListener("pagehide", keep);
    return () => {
      clearTimeout(timer);
      removeEventListener("pagehide", keep);
    };
  }, [text, session, store]);

  useEffect(() => {
    if (handed !== undefined) {
      setText((typed) => (typed === "" ? handed.text : `${handed.text}\n${typed}`));
      field.current?.focus();
    }
  }, [handed, field]);

  useLayoutEffect(() => {
    const area = field.current;
    if (area !== null) {
      area.style.height = "auto";
      area.style.height = `${area.scrollHeight}px`;
    }
  }, [text, field]);

  const send = () => {
    if (text.trim() === "" || closed) {
      return;
    }
    onSend(text.trim());
    saved.current = "";
    store.keepDraft(session, "").catch(() => undefined);
    setText("");
    field.current?.focus();
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      field.current?.blur();
    }
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div className="composer-box">
        <textarea
          ref={field}
          rows={1}
          dir="auto"
          value={text}
          disabled={closed}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={onKeyDown}
          placeholder={closed ? "" : "Write a message"}
          aria-label="Message"
          aria-describedby="outlook"
        />
        <button type="submit" className="composer-send" aria-label="Send" disabled={closed || text.trim() === ""}>
          <Icon name="send" />
        </button>
      </div>
      <p className={`outlook outlook-${tone}`} id="outlook">
        <span className="dot" aria-hidden="true" />
        {outlook}
        {closed && (
          <button type="button" className="button quiet small" onClick={onNew}>
            New conversation
          </button>
        )}
        {!closed && (
          <span className="composer-keys" aria-hidden="true">
            <kbd>Enter</kbd> sends
          </span>
        )}
      </p>
    </form>
  );
}
