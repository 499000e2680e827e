const KEYS: readonly (readonly [string, string])[] = [
  ["Enter", "Send the message"],
  ["Shift Enter", "Break the line"],
  ["Esc", "Leave the field, close what is open"],
  ["c", "Write"],
  ["j", "Next message"],
  ["k", "Message before"],
  ["i", "Details of the message"],
  ["g", "To the latest"],
  ["]", "Next conversation"],
  ["[", "Conversation before"],
  ["n", "New conversation"],
  ["t", "Rename"],
  ["a", "Connect an agent"],
  ["?", "This list"],
];

export default function Keys() {
  return (
    <dl className="keys">
      {KEYS.map(([key, words]) => (
        <div key={key}>
          <dt>
            {key.split(" ").map((part) => (
              <kbd key={part}>{part}</kbd>
            ))}
          </dt>
          <dd>{words}</dd>
        </div>
      ))}
    </dl>
  );
}
