import { Suspense, useEffect, useState } from "react";
import { later } from "../base/later";
import { MEDIUM, WIDE, useMedia } from "../base/media";
import { Conversation } from "../log/conversation";
import { Rail } from "../rail/Rail";
import { ConnectionLine } from "./ConnectionLine";
import { Room } from "./Room";
import { type Desk, DeskContext, useDesk, useRail } from "./desk";
import { canNotify, useNotifications } from "./notify";
import { go, useSessionId } from "./route";
import { useShortcuts } from "./shortcuts";

const Sheet = later(() => import("../base/Sheet"));
const Keys = later(() => import("./Keys"));

export function App({ desk }: { desk: Desk }) {
  return (
    <DeskContext value={desk}>
      <Page />
    </DeskContext>
  );
}

function Page() {
  const desk = useDesk();
  const rail = useRail();
  const id = useSessionId();
  const conversation = useConversation(desk, id);
  const medium = useMedia(MEDIUM);
  const wide = useMedia(WIDE);
  const [panel, setPanel] = useState<"keys" | "list">();
  const [failed, setFailed] = useState<string>();
  const [notifying, toggleNotifying] = useNotifications(desk.feed, () => setFailed("The browser does not let this page notify you."));
  const sessions = rail.sessions;
  const unread = (sessions ?? []).reduce((sum, session) => sum + session.unread, 0);
  const current = sessions?.find((session) => session.id === id);

  useEffect(() => {
    const name = current?.title ?? "Bridge";
    document.title = unread > 0 ? `(${unread}) ${name}` : name;
  }, [unread, current?.title]);

  const open = (session: string | undefined) => {
    setPanel(undefined);
    go(session);
  };
  const begin = async () => {
    setFailed(undefined);
    try {
      const session = await desk.api.open();
      desk.sessions.put(session);
      open(session.id);
    } catch (error) {
      setFailed(error instanceof Error && error.message !== "no answer" ? `No conversation was begun: ${error.message}` : "No conversation was begun: the bridge does not answer.");
    }
  };
  const beside = (step: number) => {
    const at = (sessions ?? []).findIndex((session) => session.id === id);
    const next = sessions?.[at + step];
    if (next !== undefined) {
      open(next.id);
    }
  };
  useShortcuts({ n: () => void begin(), "?": () => setPanel("keys"), "]": () => beside(1), "[": () => beside(-1) });

  const list = (
    <Rail
      sessions={sessions}
      current={id}
      more={rail.more !== null}
      onMore={() => void desk.sessions.loadMore().catch(() => undefined)}
      onOpen={open}
      onNew={() => void begin()}
    />
  );
  const none = sessions !== undefined && sessions.length === 0;
  const showRail = medium && !none;
  return (
    <div className={`page${showRail ? " page-rail" : ""}`}>
      <a className="skip" href="#message" onClick={(event) => (event.preventDefault(), document.querySelector<HTMLElement>("textarea")?.focus())}>
        To the message field
      </a>
      {showRail && list}
      {conversation === undefined ? (
        <main className="room room-empty">
          <ConnectionLine />
          {none || medium ? <Nothing none={none} loading={sessions === undefined} onNew={() => void begin()} /> : list}
        </main>
      ) : (
        <Room
          key={conversation.id}
          conversation={conversation}
          wide={wide}
          onNew={() => void begin()}
          onList={showRail ? undefined : () => setPanel("list")}
          onKeys={() => setPanel("keys")}
          notifying={notifying}
          canNotify={canNotify}
          onNotify={toggleNotifying}
          unreadElsewhere={unread - (current?.unread ?? 0)}
        />
      )}
      {failed !== undefined && (
        <div className="toast" role="alert">
          {failed}
          <button type="button" className="button quiet small" onClick={() => setFailed(undefined)}>
            Close
          </button>
        </div>
      )}
      <Suspense>
        {panel === "keys" && (
          <Sheet title="Keys" side="middle" onClose={() => setPanel(undefined)}>
            <Keys />
          </Sheet>
        )}
        {panel === "list" && (
          <Sheet title="Conversations" side="left" bare onClose={() => setPanel(undefined)}>
            {list}
          </Sheet>
        )}
      </Suspense>
    </div>
  );
}

function Nothing({ none, loading, onNew }: { none: boolean; loading: boolean; onNew: () => void }) {
  if (loading) {
    return null;
  }
  return (
    <div className="nothing">
      <h1>{none ? "Talk with an agent, and see what becomes of each message." : "Choose a conversation, or begin one."}</h1>
      <button type="button" className="button primary" onClick={onNew}>
        New conversation
      </button>
    </div>
  );
}

/** The conversation of the address. The first one of the page decides where the feed starts. */
function useConversation(desk: Desk, id: string | undefined): Conversation | undefined {
  const [conversation, setConversation] = useState<Conversation>();
  useEffect(() => {
    if (id === undefined) {
      setConversation(undefined);
      desk.start(undefined);
      return undefined;
    }
    const next = new Conversation(id, desk.api, desk.feed);
    setConversation(next);
    void next.load().then((cursor) => desk.start(cursor));
    return () => next.end();
  }, [desk, id]);
  return conversation !== undefined && conversation.id === id ? conversation : undefined;
}
