import { Modal } from "@mantine/core";
import type { ReactNode } from "react";

interface Props {
  title: string;
  opened: boolean;
  /** Without it the dialog stays until what it asks for is given. */
  onClose?: () => void;
  size?: string;
  children: ReactNode;
}

/** A dialog over the page. Scrolling is stopped by a stylesheet: the policy forbids style elements. */
export function Dialog({ title, opened, onClose, size = "lg", children }: Props) {
  return (
    <Modal
      title={title}
      opened={opened}
      onClose={onClose ?? (() => undefined)}
      withCloseButton={onClose !== undefined}
      closeOnEscape={onClose !== undefined}
      closeOnClickOutside={false}
      closeButtonProps={{ "aria-label": "Close" }}
      // A header of its own would be taken for another banner of the page.
      attributes={{ header: { role: "none" } }}
      lockScroll={false}
      size={size}
      centered
    >
      {children}
    </Modal>
  );
}
