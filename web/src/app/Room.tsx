// One conversation on the screen: header, thread, composer, and the details of the chosen message.

import { Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { later } from "../base/later";
import { useNow } from "../base/now";
import { atTime, ms } from "../base/time";
import { Composer } from "../composer/Composer";
import { progressOf } from "../connect/progress";
import { Header } from "../header/Header";
import { type Step, outlook } from "../ladder/rung";
import type { Conversation } from "../log/conversation";
import type { Pending } from "../log/outbox";
import { type Row, rows as rowsOf } from "../log/rows";
import { presenceOf } from "../log/view";
import { Thread, type ThreadHandle } from "../thread/Thread";
import { ConnectionLine, useOffline } from "./ConnectionLine";
import { useAnnounced } from "./announce";
import { useDesk, useOutbox, useThread } from "./desk";
import { collect, download } from "./export";
import { useReading } from "./reading";
import { useShortcuts } from "./shortcuts";

const Sheet = later(() => import("../base/Sheet"));
const Inspector = later(() => import("../inspector/Inspector"));
const Setup = later(() => import("../connect/Setup"));

interface Props {
  conversation: Conversation;
  wide: boolean;
  onNew: () => void;
  onList: (() => void) | undefined;
  onKeys: () => void;
  notifying: boolean;
  canNotify: boolean;
  onNotify: () => void;
  unreadElsewhere: number;
}

export function Room({ conversation, wide, onNew, onList, onKeys, notifying, canNotify, onNotify, unreadElsewhere }: Props) {
  const desk = useDesk();
  const { view, missing, loadingOlder, trimmed } = useThread(conversation);
  const outbox = useOutbox();
  const offline = useOffline();
  const [chosen, setChosen] = useState<string>();
  const [inspected, setInspected] = useState<string>();
  const [panel, setPanel] = useState<"connect" | "close">();
  const [renaming, setRenaming] = useState(false);
  const [atBottom, setAtBottom] = useState(true);
  const [handed, setHanded] = useState<{ text: string }>();
  const [said, setSaid] = useState<string>();
  const field = useRef<HTMLTextAreaElement>(null);
  const thread = useRef<ThreadHandle>(null);

  const drawn = useRef<readonly Row[]>([]);
  const rows = useMemo(() => {
    drawn.current = view === undefined ? [] : rowsOf(view, drawn.current);
    return drawn.current;
  }, [view]);
  const shown = useMemo(() => new Set(view?.messages.map((message) => message.correlation_id ?? "")), [view?.messages]);
  const unsent = useMemo(() => outbox.filter((entry) => entry.session === conversation.id && !shown.has(entry.key)), [outbox, conversation.id, shown]);
  useEffect(() => desk.outbox.seen(shown), [desk, shown, outbox]);

  useReading(desk.api, view, atBottom);
  const presence = useMemo(() => (view === undefined ? undefined : presenceOf(view)), [view]);
  const announced = useAnnounced(rows, presence);
  const fail = useCallback((what: string) => (error: unknown) => setSaid(`${what}: ${error instanceof Error ? error.message : "it did not work"}.`), []);

  const loadOlder = useCallback(() => void conversation.loadOlder(), [conversation]);
  const onNewRef = useRef(onNew);
  onNewRef.current = onNew;
  const actions = useMemo(
    () => ({
      inspect: (message: string) => {
        setChosen(message);
        setInspected(message);
      },
      why: desk.api.why,
      jump: (message: string) => {
        setChosen(message);
        thread.current?.show(message);
      },
      step: (step: Step, of: Row | Pending) => {
        setSaid(undefined);
        if (step === "connect") {
          setPanel("connect");
        } else if (step === "new") {
          onNewRef.current();
        } else if (step === "redrive" && "message" in of && of.delivery !== undefined) {
          desk.api.redrive(of.delivery.id).catch(fail("Not sent again"));
        } else if (step === "edit" && "key" in of) {
          void desk.outbox.discard(of.key).then((text) => setHanded({ text }));
        }
      },
    }),
    [desk, fail],
  );

  // Where there is a keyboard, one can write at once.
  const ready = view !== undefined;
  useEffect(() => {
    if (ready && matchMedia("(pointer: fine)").matches) {
      field.current?.focus();
    }
  }, [ready]);

  const step = (by: number) => {
    const at = rows.findIndex((row) => row.message.id === chosen);
    const next = rows[at < 0 ? (by < 0 ? rows.length - 1 : 0) : at + by];
    if (next !== undefined) {
      setChosen(next.message.id);
      setInspected((open) => (open === undefined ? undefined : next.message.id));
      thread.current?.show(next.message.id);
    }
  };
  useShortcuts({
    c: () => field.current?.focus(),
    j: () => step(1),
    k: () => step(-1),
    i: () => chosen !== undefined && setInspected((open) => (open === chosen ? undefined : chosen)),
    g: () => thread.current?.toEnd(),
    t: () => setRenaming(true),
    a: () => setPanel("connect"),
    Escape: () => setInspected(undefined),
  });

  if (missing) {
    return (
      <main className="room room-empty">
        <div className="nothing">
          <h1>There is no such conversation.</h1>
          <button type="button" className="button primary" onClick={onNew}>
            New conversation
          </button>
        </div>
      </main>
    );
  }
  if (view === undefined || presence === undefined) {
    return (
      <main className="room room-empty" aria-busy="true">
        <ConnectionLine />
      </main>
    );
  }

  const { session } = view;
  const closed = session.state === "closed";
  const kept = unsent.filter((entry) => entry.state === "waiting" || entry.state === "sending").length;
  const words = { live: !offline, kept, closed, presence, waiting: session.depth };
  const tone = offline ? "warn" : closed || presence.state === "away" ? "calm" : "good";
  const row = rows.find((other) => other.message.id === inspected);
  const inspector = row !== undefined && <Inspector key={row.message.id} api={desk.api} view={view} presence={presence} row={row} onChanged={() => void conversation.load()} onClose={() => setInspected(undefined)} />;

  return (
    <>
      <main className="room">
        <Header
          session={session}
          presence={presence}
          closed={closed}
          renaming={renaming}
          onRenaming={setRenaming}
          onRename={(title) => void desk.api.rename(session.id, title).catch(fail("Not renamed"))}
          onConnect={() => setPanel("connect")}
          onList={onList}
          onKeys={onKeys}
          notifying={notifying}
          canNotify={canNotify}
          onNotify={onNotify}
          onExport={() => void collect(desk.api, session.id).then((all) => download(`${fileName(session.title)}.json`, all), fail("Not exported"))}
          onClose={() => setPanel("close")}
          unreadElsewhere={unreadElsewhere}
        />
        <div className="under-header">
          <ConnectionLine />
        </div>
        <Thread
          rows={rows}
          unsent={unsent}
          presence={presence}
          chosen={inspected ?? chosen}
          actions={actions}
          older={view.older !== null}
          loadingOlder={loadingOlder}
          onOlder={loadOlder}
          onBottom={setAtBottom}
          handle={thread}
        >
          {trimmed !== undefined && <Trimmed reason={trimmed} first={view.messages[0]?.created_at} />}
          <FirstUse view={view} closed={closed} offered={rows.length === 0} />
        </Thread>
        {said !== undefined && (
          <p className="said" role="alert">
            {said}
            <button type="button" className="button quiet small" onClick={() => setSaid(undefined)}>
              Close
            </button>
          </p>
        )}
        <Composer
          session={session.id}
          store={desk.store}
          outlook={outlook({ ...words, now: Date.now() })}
          tone={tone}
          closed={closed}
          onNew={onNew}
          onSend={(text) => {
            void desk.outbox.add(session.id, text);
            thread.current?.toEnd();
          }}
          field={field}
          handed={handed}
        />
        <p className="off-screen" role="status">
          {announced}
        </p>
      </main>
      {wide && inspector && (
        <aside aria-label="Details">
          <Suspense>{inspector}</Suspense>
        </aside>
      )}
      <Suspense>
        {!wide && inspector && (
          <Sheet title="Details" side="right" bare onClose={() => setInspected(undefined)}>
            {inspector}
          </Sheet>
        )}
        {panel === "connect" && (
          <Sheet title="Connect an agent" side="middle" onClose={() => setPanel(undefined)}>
            <Setup session={session.id} progress={progressOf(view)} />
          </Sheet>
        )}
        {panel === "close" && (
          <Sheet title="Close this conversation" side="middle" onClose={() => setPanel(undefined)}>
            <div className="ask">
              <p>{closing(session.depth + session.leased)} It stays here to be read.</p>
              <div className="ask-buttons">
                <button type="button" className="button" onClick={() => setPanel(undefined)}>
                  Keep it open
                </button>
                <button
                  type="button"
                  className="button danger"
                  onClick={() => {
                    setPanel(undefined);
                    desk.api.close(session.id).catch(fail("Not closed"));
                  }}
                >
                  Close conversation
                </button>
              </div>
            </div>
          </Sheet>
        )}
      </Suspense>
    </>
  );
}

const closing = (open: number) =>
  open === 0 ? "Nobody can write to it any more." : `Nobody can write to it any more, and ${open === 1 ? "one message is" : `${open} messages are`} given up unanswered.`;

const fileName = (title: string | null) => (title ?? "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "conversation";

/** The three steps stay until they have all been seen to tick, or the conversation is opened again. */
function FirstUse({ view, closed, offered }: { view: Parameters<typeof progressOf>[0]; closed: boolean; offered: boolean }) {
  const progress = progressOf(view);
  const [wanted, setWanted] = useState(offered || (!progress.answered && view.older === null));
  if (!wanted || closed) {
    return null;
  }
  return (
    <Suspense fallback={<div className="setup-room" />}>
      <Setup shrinks session={view.session.id} progress={progress} onDone={() => setWanted(false)} />
    </Suspense>
  );
}

function Trimmed({ reason, first }: { reason: string; first: string | undefined }) {
  const now = useNow(60_000);
  return (
    <p className="trimmed">
      {reason === "trimmed" && first !== undefined
        ? `History before ${atTime(ms(first), now)} was trimmed.`
        : "The bridge’s history was replaced; this is what it holds now."}
    </p>
  );
}

