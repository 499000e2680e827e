import { Tabs } from "@base-ui/react/tabs";
import { type ReactNode, useState } from "react";
import { Icon } from "../base/Icon";
import { Snippet } from "../base/Snippet";
import type { Progress } from "./progress";
import { type Client, answerByHand, sentence, snippets } from "./snippets";
import "./connect.css";

const KEY = "bridge-client";

function lastClient(): Client {
  try {
    return (localStorage.getItem(KEY) as Client | null) ?? "claude-code";
  } catch {
    return "claude-code";
  }
}

interface Props {
  session: string;
  progress: Progress;
  /** Whether a step that was done before leaves its title only. By hand, what to paste is needed until there is an answer. */
  shrinks?: boolean;
  onDone?: () => void;
}

/** Three steps to a first answer. Each ticks itself when the log shows it. */
export default function Setup({ session, progress, shrinks = false, onDone }: Props) {
  const [client, setClient] = useState<Client>(lastClient);
  const { origin } = location;
  const choose = (next: Client) => {
    setClient(next);
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // It is only a convenience.
    }
  };
  const byHand = client === "curl";
  // A step that is ticked under one's eyes stays as it is, so that nothing below it moves.
  const [before] = useState(progress);
  const folds = (ticked: boolean) => shrinks && ticked && (!byHand || before.answered);
  const done = progress.called && progress.received && progress.answered;
  return (
    <section className="setup" aria-label="Connect an agent">
      <ol className="steps">
        <StepLine ordinal={1} done={progress.called} folded={folds(before.called)} title="Connect an agent">
          <Tabs.Root value={client} onValueChange={(value) => choose(value as Client)}>
            <Tabs.List className="tabs" aria-label="Program">
              {snippets(origin, session).map((snippet) => (
                <Tabs.Tab key={snippet.client} value={snippet.client} className="tab">
                  {snippet.label}
                </Tabs.Tab>
              ))}
            </Tabs.List>
            {snippets(origin, session).map((snippet) => (
              <Tabs.Panel key={snippet.client} value={snippet.client} className="tab-panel">
                <p>{snippet.where}</p>
                <Snippet text={snippet.text} label={`For ${snippet.label}`} />
              </Tabs.Panel>
            ))}
          </Tabs.Root>
        </StepLine>
        <StepLine ordinal={2} done={progress.received} folded={folds(before.received)} title={byHand ? "Answer what it gives you" : "Tell it this"}>
          {byHand && <p>With the token that came with the message:</p>}
          <Snippet text={byHand ? answerByHand(origin, session) : sentence(session)} label={byHand ? "The answer by hand" : "What to tell it"} prose={!byHand} />
        </StepLine>
        <StepLine ordinal={3} done={progress.answered} folded title="Write a message, and see it answered" />
      </ol>
      {done && onDone !== undefined && (
        <button type="button" className="button small setup-done" onClick={onDone}>
          Done
        </button>
      )}
    </section>
  );
}

function StepLine({ ordinal, done, folded, title, children }: { ordinal: number; done: boolean; folded: boolean; title: string; children?: ReactNode }) {
  return (
    <li className={done ? "step step-done" : "step"}>
      <span className="step-mark" aria-hidden="true">
        {done ? <Icon name="check" /> : ordinal}
      </span>
      <div className="step-body">
        <h3>
          {title}
          <span className="off-screen" role="status">
            {done ? " (done)" : ""}
          </span>
        </h3>
        {!folded && children}
      </div>
    </li>
  );
}
