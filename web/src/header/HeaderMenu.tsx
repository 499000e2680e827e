import { Menu } from "@base-ui/react/menu";
import { Icon } from "../base/Icon";
import { type Theme, setTheme, useTheme } from "../app/theme";

export interface HeaderMenuProps {
  closed: boolean;
  notifying: boolean;
  canNotify: boolean;
  onNotify: () => void;
  onExport: () => void;
  onKeys: () => void;
  onClose: () => void;
}

const THEMES: readonly (readonly [Theme, string])[] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export default function HeaderMenu({ closed, notifying, canNotify, onNotify, onExport, onKeys, onClose }: HeaderMenuProps) {
  const theme = useTheme();
  return (
    <Menu.Root>
      <Menu.Trigger className="button quiet icon-only" aria-label="Menu">
        <Icon name="menu" />
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Positioner className="menu-layer" align="end" sideOffset={4} collisionPadding={8}>
          <Menu.Popup className="menu">
            <Menu.Item className="menu-item" onClick={onExport}>
              Export as JSON
            </Menu.Item>
            {canNotify && (
              <Menu.CheckboxItem className="menu-item" checked={notifying} onCheckedChange={onNotify} closeOnClick>
                Notify me of answers
                <Menu.CheckboxItemIndicator className="menu-mark">
                  <Icon name="check" />
                </Menu.CheckboxItemIndicator>
              </Menu.CheckboxItem>
            )}
            <Menu.Item className="menu-item" onClick={onKeys}>
              Keys <kbd className="menu-mark">?</kbd>
            </Menu.Item>
            <Menu.Separator className="menu-line" />
            <Menu.RadioGroup value={theme} onValueChange={(value: Theme) => setTheme(value)}>
              <Menu.GroupLabel className="menu-label">Theme</Menu.GroupLabel>
              {THEMES.map(([value, words]) => (
                <Menu.RadioItem key={value} value={value} className="menu-item">
                  {words}
                  <Menu.RadioItemIndicator className="menu-mark">
                    <Icon name="check" />
                  </Menu.RadioItemIndicator>
                </Menu.RadioItem>
              ))}
            </Menu.RadioGroup>
            {!closed && (
              <>
                <Menu.Separator className="menu-line" />
                <Menu.Item className="menu-item menu-item-bad" onClick={onClose}>
                  Close conversation
                </Menu.Item>
              </>
            )}
          </Menu.Popup>
        </Menu.Positioner>
      </Menu.Portal>
    </Menu.Root>
  );
}
