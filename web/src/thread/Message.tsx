import { memo } from "react";
import { agentName } from "../base/agent";
import { useNow } from "../base/now";
import { atTime, dayOf, inFull, ms } from "../base/time";
import { Ladder } from "../ladder/Ladder";
import { type Step, outboxRung, rung } from "../ladder/rung";
import { type AskWhy, useWhy } from "../ladder/useWhy";
import { sentence } from "../ladder/why";
import type { Pending } from "../log/outbox";
import { type Row, lineOf, textOf } from "../log/rows";
import type { Known } from "../log/view";
import type { Presence } from "../log/wire";
import { Markdown } from "./Markdown";

export interface MessageActions {
  inspect: (message: string) => void;
  step: (step: Step, of: Row | Pending) => void;
  jump: (message: string) => void;
  why: AskWhy;
}

const ordinals = ["", "First", "Second", "Third", "Fourth", "Fifth"];

/** One message with its newest rung, or one answer with what it answers. */
export const Message = memo(function Message({
  row,
  presence,
  chosen,
  actions,
}: {
  row: Row;
  presence: Presence;
  chosen: boolean;
  actions: MessageActions;
}) {
  const { message, side } = row;
  const at = ms(message.created_at);
  const mine = side === "user";
  const who = mine ? "You" : agentName(message.from);
  return (
    <>
      {row.newDay && <Day at={at} opens={row.opens} />}
      <article
        className={`message ${mine ? "message-mine" : "message-theirs"}${row.follows ? " message-follows" : ""}${chosen ? " message-chosen" : ""}`}
        id={message.id}
        data-message={message.id}
        tabIndex={-1}
        aria-label={`${who}, ${inFull(at)}`}
      >
        {!mine && <Byline row={row} who={who} at={at} actions={actions} />}
        <div className="bubble">{row.removed ? <p className="removed">The content was removed.</p> : <Markdown text={textOf(message)} />}</div>
        {mine && row.delivery !== undefined && <Live delivery={row.delivery} presence={presence} row={row} actions={actions} />}
      </article>
    </>
  );
});

function Byline({ row, who, at, actions }: { row: Row; who: string; at: number; actions: MessageActions }) {
  const { message, asked, ordinal } = row;
  const now = useNow(60_000);
  return (
    <header className="byline">
      {!row.follows && <span className="byline-who">{who}</span>}
      <button type="button" className="byline-time" onClick={() => actions.inspect(message.id)} title={inFull(at)} aria-label={`${atTime(at, now)} Details`}>
        <time dateTime={message.created_at}>{atTime(at, now)}</time>
      </button>
      {ordinal > 1 && <span className="again">{ordinals[ordinal] ?? `${ordinal}th`} answer to the same message</span>}
      {asked !== undefined && (row.apart || ordinal > 1) && (
        <button type="button" className="asked" onClick={() => actions.jump(asked.id)} aria-label={`Answers: ${lineOf(asked)}`}>
          <span dir="auto">“{lineOf(asked)}”</span>
        </button>
      )}
      {message.type !== "answer" && message.type !== "message" && <span className="again">{message.type}</span>}
    </header>
  );
}

/** The rung of a message, told anew each second only while its words depend on the time. */
function Live({ delivery, presence, row, actions }: { delivery: Known; presence: Presence; row: Row; actions: MessageActions }) {
  const why = useWhy(actions.why, delivery, presence);
  const ticks = rung(delivery, presence, Date.now()).ticks === true || why?.head_reason === "backoff";
  const second = useNow(ticks ? 1000 : 86_400_000);
  const now = ticks ? second : Date.now();
  const told = rung(delivery, presence, now);
  // Some rungs say it themselves: when it goes out, and that nobody is there.
  const isSaid = why === undefined || why.reason === "backoff" || why.reason === "scheduled" || (why.reason === "no_consumer" && told.step === "connect");
  const says = isSaid ? undefined : sentence(why, now);
  return (
    <Ladder
      rung={told}
      why={says}
      onStep={(step) => actions.step(step, row)}
      onOpen={() => actions.inspect(row.message.id)}
    />
  );
}

/** A message that only this browser has. */
export function Unsent({ entry, actions }: { entry: Pending; actions: MessageActions }) {
  const now = useNow();
  return (
    <article className="message message-mine message-unsent" data-key={entry.key} tabIndex={-1} aria-label={`You, not sent yet, ${inFull(entry.at)}`}>
      <div className="bubble">
        <Markdown text={entry.text} />
      </div>
      <Ladder rung={outboxRung(entry, now)} onStep={(step) => actions.step(step, entry)} />
    </article>
  );
}

/** Where a day begins. A thread that begins today need not say so. */
function Day({ at, opens }: { at: number; opens: boolean }) {
  const now = useNow(60_000);
  return opens && dayOf(at, now) === "Today" ? null : (
    <div className="day" role="separator" aria-label={dayOf(at, now)}>
      <span>{dayOf(at, now)}</span>
    </div>
  );
}
