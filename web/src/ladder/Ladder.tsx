import { Icon } from "../base/Icon";
import { inFull, toTheSecond } from "../base/time";
import type { Rung, Step } from "./rung";
import "./ladder.css";

const STEPS: Record<Step, string> = {
  connect: "Connect an agent",
  new: "New conversation",
  redrive: "Send again",
  edit: "Edit",
  retry: "Try again",
};

/** The newest rung of a message: a sign, its word, why it goes no further, and what to do next if something has to be done. */
export function Ladder({ rung, why, onStep, onOpen }: { rung: Rung; why?: string | undefined; onStep?: (step: Step) => void; onOpen?: () => void }) {
  const { step } = rung;
  return (
    // The announcer speaks of rungs; here they would be read out twice.
    <div className={`ladder ladder-${rung.tone}`} aria-live="off">
      <time className="ladder-time" dateTime={new Date(rung.at).toISOString()} title={inFull(rung.at)}>
        {toTheSecond(rung.at)}
      </time>
      {onOpen === undefined ? (
        <span className="rung">
          <Icon name={rung.glyph} />
          <span dir="auto">{rung.words}</span>
        </span>
      ) : (
        <button type="button" className="rung" onClick={onOpen} title={inFull(rung.at)} aria-label={`${rung.words} Details`}>
          <Icon name={rung.glyph} />
          <span dir="auto">{rung.words}</span>
        </button>
      )}
      {why !== undefined && (
        <span className="why" dir="auto">
          {why}
        </span>
      )}
      {step !== undefined && onStep !== undefined && (
        <button type="button" className="button small" onClick={() => onStep(step)}>
          {STEPS[step]}
        </button>
      )}
    </div>
  );
}
