// Every sign on the page, drawn on 16 by 16 with one weight of line. A sign never stands for a word alone.

const PATHS = {
  sending: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5M8 5.200V8l2 1.400",
  accepted: "M3 8.500l3.200 3.200L13 4.800",
  presented: "M1.500 8.500l3 3L10.500 5M7 10.500l1.200 1.200L14.500 5",
  seen: "M1.500 8S4 3.800 8 3.800 14.500 8 14.500 8 12 12.200 8 12.200 1.500 8 1.500 8zM8 9.800a1.800 1.800 0 1 0 0-3.600 1.800 1.800 0 0 0 0 3.600z",
  working: "M3.500 8h.01M8 8h.01M12.500 8h.01",
  answered: "M6.500 4L2.500 8l4 4M2.800 8H9a4.500 4.500 0 0 1 4.500 4.500",
  waiting: "M4.500 2.500h7M4.500 13.500h7M5 2.500c0 3 1.500 4 3 5.500-1.500 1.500-3 2.500-3 5.500M11 2.500c0 3-1.500 4-3 5.500 1.500 1.500 3 2.500 3 5.500",
  returned: "M3 7.500a5 5 0 1 1 1.200 4.300M3 3.500v4h4",
  ended: "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM6 6l4 4M10 6l-4 4",
  plus: "M8 3v10M3 8h10",
  menu: "M3.500 8h.01M8 8h.01M12.500 8h.01",
  list: "M2.500 4h11M2.500 8h11M2.500 12h11",
  send: "M8 13V3.500M4 7.200L8 3.200l4 4",
  copy: "M5.500 5.500v-3h8v8h-3M2.500 5.500h8v8h-8z",
  check: "M3 8.500l3.200 3.200L13 4.800",
  close: "M4 4l8 8M12 4l-8 8",
  down: "M8 3v9.500M4 8.800l4 4 4-4",
  plug: "M5.500 2.500v3M10.500 2.500v3M3.500 5.500h9v2a4.500 4.500 0 0 1-9 0zM8 12v2",
  link: "M6.500 3.500h-3v9h9v-3M9.500 2.500h4v4M13.200 2.800L7.500 8.500",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className={name === "working" || name === "menu" ? "icon icon-dots" : "icon"} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
