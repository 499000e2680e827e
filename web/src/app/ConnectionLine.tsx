import { useNow } from "../base/now";
import { toTheSecond } from "../base/time";
import { useConnection } from "./desk";

const PATIENCE_MS = 2_000;

/** Whether the log has not been heard for long enough to say so. */
export function useOffline(): boolean {
  const { phase, since } = useConnection();
  const now = useNow();
  return phase !== "live" && now - since > PATIENCE_MS;
}

/** A thin line over the page while there is no connection. It covers, so that nothing moves when it comes and goes. */
export function ConnectionLine() {
  const { since } = useConnection();
  const offline = useOffline();
  return (
    <div className="connection" role="status">
      {offline && <p>No connection since {toTheSecond(since)}. Trying again.</p>}
    </div>
  );
}
