// Everything that is known of one message: its rungs with their times, its attempts and who held it, and itself as JSON.

import { Fragment, useEffect, useState } from "react";
import { agentName } from "../base/agent";
import { CopyButton } from "../base/CopyButton";
import { Icon } from "../base/Icon";
import { Snippet } from "../base/Snippet";
import { useNow } from "../base/now";
import { inFull, ms, span, toTheSecond } from "../base/time";
import { ATTEMPTS } from "../ladder/rung";
import { useWhy } from "../ladder/useWhy";
import { sentence } from "../ladder/why";
import type { Api } from "../log/api";
import type { Row } from "../log/rows";
import { type Known, type View, agentSide } from "../log/view";
import type { Attempt, Presence, Time } from "../log/wire";
import "./inspector.css";

interface Props {
  api: Pick<Api, "delivery" | "why" | "cancel" | "redrive">;
  view: View;
  presence: Presence;
  row: Row;
  /** Something was changed that the log does not tell. */
  onChanged: () => void;
  onClose: (() => void) | undefined;
}

export default function Inspector({ api, view, presence, row, onChanged, onClose }: Props) {
  const { message } = row;
  const deliveries = Object.values(view.deliveries)
    .filter((delivery) => delivery.message_id === message.id && delivery.mailbox === agentSide(view.session.id))
    .sort((a, b) => (a.receipts.accepted < b.receipts.accepted ? 1 : -1));
  return (
    <div className="inspector">
      <div className="inspector-head">
        <h2>{row.side === "user" ? "Your message" : `From ${agentName(message.from)}`}</h2>
        {onClose !== undefined && (
          <button type="button" className="button quiet icon-only" onClick={onClose} aria-label="Close the details">
            <Icon name="close" />
          </button>
        )}
      </div>
      {row.side === "agent" && (
        <dl className="facts">
          <Fact name="Accepted" time={message.created_at} />
          {row.asked !== undefined && (
            <>
              <dt>Answered after</dt>
              <dd>{span(ms(message.created_at) - ms(row.asked.created_at))}</dd>
            </>
          )}
          <dt>Sender</dt>
          <dd>
            {message.from}
            {message.verified ? "" : " (not verified)"}
          </dd>
        </dl>
      )}
      {deliveries.map((delivery, index) => (
        <Journey key={delivery.id} api={api} delivery={delivery} presence={presence} onChanged={onChanged} title={deliveries.length === 1 ? undefined : index === 0 ? "Sent again" : "Before"} />
      ))}
      <section>
        <h3>Ids</h3>
        <Id name="Message" id={message.id} />
        {deliveries.map((delivery) => (
          <Id key={delivery.id} name="Delivery" id={delivery.id} />
        ))}
      </section>
      <details className="raw">
        <summary>As JSON</summary>
        <Snippet text={JSON.stringify({ ...message, deliveries: deliveries.map(plain) }, null, 2)} label="The message as JSON" />
      </details>
    </div>
  );
}

/** A delivery as the wire has it. */
function plain({ as_of: _asOf, returned: _returned, ...delivery }: Known) {
  return delivery;
}

function Journey({ api, delivery, presence, title, onChanged }: Pick<Props, "api" | "presence" | "onChanged"> & { delivery: Known; title: string | undefined }) {
  const attempts = useAttempts(api, delivery);
  const [failed, setFailed] = useState<string>();
  const { receipts } = delivery;
  const act = (call: Promise<unknown>) => {
    setFailed(undefined);
    call.then(onChanged, (error: unknown) => setFailed(error instanceof Error ? error.message : "it did not work"));
  };
  const rungs: readonly (readonly [string, Time | undefined, (string | undefined)?])[] = [
    ["accepted", receipts.accepted, "safe on disk"],
    ["presented", receipts.presented, "handed to the agent"],
    ["seen", receipts.seen, "the agent acted on it"],
    ["working", receipts.progressed, delivery.progress === undefined ? undefined : `“${delivery.progress}”`],
    ["answered", receipts.answered],
    ["done, without an answer", receipts.answered === undefined ? receipts.settled : undefined],
    ["given up", receipts.dead, delivery.last_error === undefined ? delivery.reason?.replace(/_/g, " ") : `“${delivery.last_error}”`],
  ];
  return (
    <section className="journey">
      {title !== undefined && <h3>{title}</h3>}
      <ol className="rungs">
        {rungs
          .filter(([, time]) => time !== undefined)
          .map(([word, time, note]) => (
            <li key={word}>
              <time dateTime={time} title={inFull(ms(time as Time))}>
                {toTheSecond(ms(time as Time))}
              </time>
              <span>
                {word}
                {note !== undefined && <span className="note" dir="auto">{` ${note}`}</span>}
              </span>
            </li>
          ))}
      </ol>
      <Still api={api} delivery={delivery} presence={presence} />
      <Standing delivery={delivery} />
      {attempts !== undefined && attempts.length > 0 && <Attempts attempts={attempts} />}
      <div className="inspector-actions">
        {(delivery.state === "dead" || delivery.state === "cancelled") && delivery.redriven_as === undefined && (
          <button type="button" className="button small" onClick={() => act(api.redrive(delivery.id))}>
            Send again
          </button>
        )}
        {(delivery.state === "pending" || delivery.state === "leased") && (
          <button type="button" className="button small" disabled={delivery.cancel_requested} onClick={() => act(api.cancel(delivery.id))}>
            {delivery.cancel_requested ? "Asked back" : "Take back"}
          </button>
        )}
        {failed !== undefined && (
          <p className="failed" role="alert">
            {failed}
          </p>
        )}
      </div>
    </section>
  );
}

/** Why it goes no further. */
function Still({ api, delivery, presence }: Pick<Props, "api" | "presence"> & { delivery: Known }) {
  const why = useWhy(api.why, delivery, presence);
  const now = useNow();
  const says = why === undefined ? undefined : sentence(why, now);
  return says === undefined ? null : (
    <p className="still" dir="auto">
      {says}
    </p>
  );
}

/** Who has it, until when, and what is left of its chances. */
function Standing({ delivery }: { delivery: Known }) {
  const now = useNow();
  const { lease } = delivery;
  return (
    <dl className="facts">
      {lease !== undefined && (
        <>
          <dt>Held by</dt>
          <dd>{lease.consumer || "a nameless caller"}</dd>
          <dt>Until</dt>
          <dd>
            {toTheSecond(ms(lease.until))} <span className="note">{ms(lease.until) > now ? `${span(ms(lease.until) - now)} left` : "over"}</span>
          </dd>
        </>
      )}
      {delivery.attempt > 0 && (
        <>
          <dt>Attempt</dt>
          <dd>{delivery.attempt}</dd>
        </>
      )}
      {delivery.failures > 0 && (
        <>
          <dt>Failures</dt>
          <dd>
            {delivery.failures} of {ATTEMPTS}
          </dd>
        </>
      )}
      {delivery.state === "pending" && delivery.visible_at !== undefined && ms(delivery.visible_at) > now && <Fact name="Next from" time={delivery.visible_at} />}
      {delivery.expires_at !== undefined && <Fact name="Expires" time={delivery.expires_at} />}
    </dl>
  );
}

function Fact({ name, time }: { name: string; time: Time }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>
        <time dateTime={time} title={inFull(ms(time))}>
          {toTheSecond(ms(time))}
        </time>
      </dd>
    </>
  );
}

const OUTCOMES: Record<string, string> = {
  answered: "answered",
  settled: "done",
  nack: "failed",
  release: "put back",
  timeout: "fell silent",
  answer_lost: "did not arrive",
  dead: "given up",
  cancelled: "taken back",
};

function Attempts({ attempts }: { attempts: readonly Attempt[] }) {
  return (
    <table className="attempts">
      <caption className="off-screen">Attempts</caption>
      <thead>
        <tr>
          <th scope="col" className="number">
            #
          </th>
          <th scope="col">Who</th>
          <th scope="col" className="number">
            From
          </th>
          <th scope="col" className="number">
            Took
          </th>
          <th scope="col">Ended</th>
        </tr>
      </thead>
      <tbody>
        {attempts.map((attempt) => (
          <Fragment key={attempt.attempt}>
            <tr>
              <td className="number">{attempt.attempt}</td>
              <td className="who" title={attempt.consumer}>
                {attempt.consumer || "nameless"}
              </td>
              <td className="number">
                <time dateTime={attempt.presented_at} title={inFull(ms(attempt.presented_at))}>
                  {toTheSecond(ms(attempt.presented_at))}
                </time>
              </td>
              <td className="number">{attempt.ended_at === undefined ? "" : span(ms(attempt.ended_at) - ms(attempt.presented_at))}</td>
              <td>{attempt.outcome === undefined ? "held" : (OUTCOMES[attempt.outcome] ?? attempt.outcome)}</td>
            </tr>
            {attempt.error !== undefined && (
              <tr>
                <td />
                <td colSpan={4} className="note" dir="auto">
                  “{attempt.error}”
                </td>
              </tr>
            )}
          </Fragment>
        ))}
      </tbody>
    </table>
  );
}

function Id({ name, id }: { name: string; id: string }) {
  return (
    <div className="id">
      <span>{name}</span>
      <code title={id}>{id}</code>
      <CopyButton text={id} label="Copy" quiet />
    </div>
  );
}

/** The hand-overs, asked for again whenever the log says something new of the delivery. */
function useAttempts(api: Props["api"], delivery: Known): readonly Attempt[] | undefined {
  const [attempts, setAttempts] = useState<readonly Attempt[]>();
  useEffect(() => {
    let current = true;
    if (delivery.attempt > 0) {
      api
        .delivery(delivery.id)
        .then((full) => current && setAttempts(full.attempts))
        .catch(() => undefined);
    }
    return () => {
      current = false;
    };
  }, [api, delivery.id, delivery.as_of, delivery.attempt]);
  return attempts;
}
