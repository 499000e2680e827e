import { Dialog } from "@base-ui/react/dialog";
import type { ReactNode } from "react";
import { Icon } from "./Icon";
import "./sheet.css";

interface Props {
  title: string;
  /** Where it stands: over the middle, or along an edge. */
  side: "middle" | "left" | "right";
  onClose: () => void;
  children: ReactNode;
  /** The title is there for screen readers only; the content shows its own. */
  bare?: boolean;
}

/** Something laid over the page until it is closed. */
export default function Sheet({ title, side, onClose, children, bare = false }: Props) {
  return (
    <Dialog.Root open onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className={`sheet sheet-${side}`}>
          {bare ? (
            <Dialog.Title className="off-screen">{title}</Dialog.Title>
          ) : (
            <div className="sheet-head">
              <Dialog.Title>{title}</Dialog.Title>
              <Dialog.Close className="button quiet icon-only" aria-label="Close">
                <Icon name="close" />
              </Dialog.Close>
            </div>
          )}
          {children}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
