import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, type RefObject, useImperativeHandle } from "react";
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
}

/** A long thread: only what is near the screen is in the page. It is anchored at its end, so that it can grow above. */
export default function LongList({ rows, keyOf, line, scroller, handle }: Props) {
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => 96,
    getItemKey: (index) => keyOf(rows[index] as Row),
    overscan: 8,
    anchorTo: "end",
  });
  useImperativeHandle(handle, () => ({ show: (index) => virtualizer.scrollToIndex(index, { align: "auto" }) }));
  return (
    <div className="thread-virtual" style={{ height: virtualizer.getTotalSize() }}>
      {virtualizer.getVirtualItems().map((item) => (
        <div key={item.key} data-index={item.index} ref={virtualizer.measureElement} className="thread-virtual-row" style={{ transform: `translateY(${item.start}px)` }}>
          {line(rows[item.index] as Row)}
        </div>
      ))}
    </div>
  );
}
