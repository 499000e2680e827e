import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, type RefObject, useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import type { Row } from "../log/rows";

export interface LongListHandle {
  show: (index: number) => void;
}

interface Props {
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  line: (row: Row) => ReactNode;
  scroller: RefObject<HTMLDivElement | null>;
  handle: RefObject<LongListHandle | null>;
  /** The message at the upper edge when the list takes over; none at the end of the thread. */
  from: () => string | undefined;
}

/** A long thread: only what is near the screen is in the page. It is anchored at its end, so that it can grow above. */
export default function LongList({ rows, keyOf, line, scroller, handle, from }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [above, setAbove] = useState(0);
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 96,
    getItemKey: (index) => keyOf(rows[index] as Row),
    overscan: 8,
    anchorTo: "end",
    scrollMargin: above,
  });
  useImperativeHandle(handle, () => ({ show: (index) => virtualizer.scrollToIndex(index, { align: "auto" }) }));
  useLayoutEffect(() => setAbove(box.current?.offsetTop ?? 0));
  // The plain thread had the same messages at other heights: what was in sight comes back into sight.
  useLayoutEffect(() => {
    const index = rows.findIndex((row) => row.message.id === from());
    if (index >= 0) {
      virtualizer.scrollToIndex(index, { align: "start" });
    }
  }, []);
  return (
    <div className="thread-virtual" ref={box} style={{ height: virtualizer.getTotalSize() }}>
      {virtualizer.getVirtualItems().map((item) => (
        <div
          key={item.key}
          data-index={item.index}
          ref={virtualizer.measureElement}
          className="thread-virtual-row"
          style={{ transform: `translateY(${item.start - above}px)` }}
        >
          {line(rows[item.index] as Row)}
        </div>
      ))}
    </div>
  );
}
