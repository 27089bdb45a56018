import { Button } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState, type SyntheticEvent } from "react";

import { newKey } from "../api/client";
import type { Wish } from "../api/wishes";
import { Dialog } from "../parts/Dialog";
import { Note } from "../parts/Note";
import { ProblemNote } from "../parts/ProblemNote";
import { ReasonField } from "../parts/ReasonField";
import { useChanged } from "./useChanged";

interface Props {
  title: string;
  verb: string;
  /** Posts it, and returns what became of it. */
  post: (wish: Wish<{ reason: string }>) => Promise<string>;
  onClose: () => void;
  children: ReactNode;
}

/** Ends something, once it was said why. */
export function ReasonDialog({ title, verb, post, onClose, children }: Props) {
  const [reason, setReason] = useState("");
  const changed = useChanged();
  const end = useMutation({ mutationFn: post, onSuccess: changed });

  function submit(event: SyntheticEvent) {
    event.preventDefault();
    end.mutate({ body: { reason: reason.trim() }, key: newKey() });
  }

  return (
    <Dialog title={title} opened onClose={onClose}>
      {end.data !== undefined ? (
        <div className="stack">
          <Note tone="good">{end.data}</Note>
          <Button onClick={onClose} data-autofocus>
            Close
          </Button>
        </div>
      ) : (
        <form className="stack" onSubmit={submit}>
          {children}
          <ReasonField value={reason} onChange={setReason} />
          {end.error !== null && <ProblemNote error={end.error} />}
          <div className="row">
            <Button type="submit" color="red" disabled={reason.trim() === ""} loading={end.isPending}>
              {verb}
            </Button>
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
