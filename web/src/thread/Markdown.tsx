// Text of people and models, shown as data: no HTML of its own, few kinds of links, nothing fetched from elsewhere.

import { type ComponentProps, type ReactNode, memo } from "react";
import ReactMarkdown, { type Components, type ExtraProps } from "react-markdown";
import remarkGfm from "remark-gfm";
import { CopyButton } from "../base/CopyButton";
import { Icon } from "../base/Icon";
import "./markdown.css";

const SCHEMES = /^(https?|mailto):/i;
const plugins = [remarkGfm];

/** The address of a link, or nothing: what has no scheme that is known to be harmless is no link. */
export function safeAddress(address: string): string {
  return SCHEMES.test(address.trim()) ? address.trim() : "";
}

function Outside({ href, children }: { href: string | undefined; children?: ReactNode }) {
  return href === undefined || href === "" ? (
    <span>{children}</span>
  ) : (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow ugc" referrerPolicy="no-referrer">
      {children}
    </a>
  );
}

function hostOf(address: string): string {
  try {
    return new URL(address).host;
  } catch {
    return "";
  }
}

interface HastNode {
  type: string;
  value?: string;
  children?: HastNode[];
  tagName?: string;
  properties?: Record<string, unknown>;
}

const textIn = (node: HastNode): string => node.value ?? (node.children ?? []).map(textIn).join("");

function CodeBlock({ node }: ComponentProps<"pre"> & ExtraProps) {
  const code = (node?.children ?? [])[0] as HastNode | undefined;
  const classes = (code?.properties?.["className"] as string[] | undefined) ?? [];
  const language = classes.find((name) => name.startsWith("language-"))?.slice("language-".length);
  const text = code === undefined ? "" : textIn(code);
  return (
    <figure className="code">
      <figcaption>
        <span>{language ?? "text"}</span>
        <CopyButton text={text.replace(/\n$/, "")} quiet />
      </figcaption>
      {/* Focusable, so that a long line can be scrolled with the keyboard. */}
      <pre dir="ltr" tabIndex={0} aria-label={`Code, ${language ?? "text"}`} role="region">
        <code>{text}</code>
      </pre>
    </figure>
  );
}

const components: Components = {
  a: ({ href, children }) => <Outside href={href}>{children}</Outside>,
  img: ({ src, alt }) => {
    const address = typeof src === "string" ? src : "";
    return address === "" ? (
      <span className="image-link">{alt === "" ? "image" : alt}</span>
    ) : (
      <span className="image-link">
        <Icon name="link" />
        <Outside href={address}>
          Image{alt ? `: ${alt}` : ""} ({hostOf(address)})
        </Outside>
      </span>
    );
  },
  pre: CodeBlock,
  table: ({ children }) => (
    <div className="table" tabIndex={0} role="region" aria-label="Table">
      <table>{children}</table>
    </div>
  ),
  // The page's own headings are above these.
  h1: ({ children }) => <h3>{children}</h3>,
  h2: ({ children }) => <h3>{children}</h3>,
  h3: ({ children }) => <h4>{children}</h4>,
  h4: ({ children }) => <h5>{children}</h5>,
  h5: ({ children }) => <h5>{children}</h5>,
  h6: ({ children }) => <h5>{children}</h5>,
  input: ({ checked }) => (
    <span className="task-box" role="img" aria-label={checked ? "done" : "to do"}>
      {checked ? "☑" : "☐"}
    </span>
  ),
};

export const Markdown = memo(function Markdown({ text }: { text: string }) {
  return (
    <div className="markdown" dir="auto">
      <ReactMarkdown remarkPlugins={plugins} components={components} urlTransform={safeAddress}>
        {text}
      </ReactMarkdown>
    </div>
  );
});
