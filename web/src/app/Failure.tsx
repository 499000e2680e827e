import { Component, type ReactNode } from "react";

/** A fault of the page itself: said plainly, instead of an empty window. What was written is kept. */
export class Failure extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    if (!this.state.failed) {
      return this.props.children;
    }
    return (
      <main className="nothing" role="alert">
        <h1>Something on this page failed. What you wrote is kept.</h1>
        <button type="button" className="button primary" onClick={() => location.reload()}>
          Load again
        </button>
      </main>
    );
  }
}
