import { Suspense, useState } from "react";
import { titleOf } from "../app/desk";
import { Icon } from "../base/Icon";
import { later } from "../base/later";
import { useNow } from "../base/now";
import { presenceWords } from "../ladder/rung";
import type { Presence, Session } from "../log/wire";
import type { HeaderMenuProps } from "./HeaderMenu";
import "./header.css";

const HeaderMenu = later(() => import("./HeaderMenu"));

interface Props extends HeaderMenuProps {
  session: Session;
  presence: Presence;
  onRename: (title: string) => void;
  onConnect: () => void;
  /** Opens the list of conversations where there is no room for it beside the thread. */
  onList: (() => void) | undefined;
  renaming: boolean;
  onRenaming: (renaming: boolean) => void;
  unreadElsewhere: number;
}

export function Header({ session, presence: there, onRename, onConnect, onList, renaming, onRenaming, unreadElsewhere, ...menu }: Props) {
  const now = useNow(10_000);
  const closed = session.state === "closed";
  const presence = presenceWords(there, now);
  return (
    <header className="header">
      {onList !== undefined && (
        <button type="button" className="button quiet icon-only" onClick={onList} aria-label={unreadElsewhere > 0 ? `Conversations, ${unreadElsewhere} unread` : "Conversations"}>
          <Icon name="list" />
          {unreadElsewhere > 0 && <span className="badge" aria-hidden="true" />}
        </button>
      )}
      <div className="header-names">
        <Title session={session} onRename={onRename} renaming={renaming} onRenaming={onRenaming} />
        <p className="presence">
          <span className={`state state-${closed ? "closed" : presence.state}`} aria-hidden="true" />
          <span role="status">{closed ? "Closed" : presence.words}</span>
        </p>
      </div>
      {!closed && (
        <button type="button" className="button connect-button" onClick={onConnect} aria-label="Connect an agent" title="Connect an agent">
          <Icon name="plug" />
          <span>Connect an agent</span>
        </button>
      )}
      <Suspense fallback={<span className="button quiet icon-only" aria-hidden="true"><Icon name="menu" /></span>}>
        <HeaderMenu {...menu} />
      </Suspense>
    </header>
  );
}

function Title({ session, onRename, renaming, onRenaming }: Pick<Props, "session" | "onRename" | "renaming" | "onRenaming">) {
  if (!renaming) {
    return (
      <h1 className="title">
        <button type="button" onClick={() => onRenaming(true)} title="Rename (t)" dir="auto">
          {titleOf(session)}
        </button>
      </h1>
    );
  }
  const end = (title: string | undefined) => {
    onRenaming(false);
    if (title !== undefined && title !== "" && title !== session.title) {
      onRename(title);
    }
  };
  return <TitleField title={session.title ?? ""} onEnd={end} />;
}

/** The title as it was when the editing began: a change from elsewhere does not overwrite what is being typed. */
function TitleField({ title, onEnd }: { title: string; onEnd: (title: string | undefined) => void }) {
  const [text, setText] = useState(title);
  return (
    <input
      className="title-field"
      aria-label="Title"
      dir="auto"
      autoFocus
      maxLength={120}
      value={text}
      onFocus={(event) => event.currentTarget.select()}
      onChange={(event) => setText(event.target.value)}
      onBlur={() => onEnd(text.trim())}
      onKeyDown={(event) => {
        if (event.key === "Enter") {
          onEnd(text.trim());
        } else if (event.key === "Escape") {
          event.stopPropagation();
          onEnd(undefined);
        }
      }}
    />
  );
}
