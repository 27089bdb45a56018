import { Button } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { type ReactNode, useState, type SyntheticEvent } from "react";

import { newKey } from "../api/client";
import type { ConfirmationGiven } from "../api/types";
import { type Change, make, preview } from "../api/wishes";
import { scopeName, versionName } from "../format/names";
import { Dialog } from "../parts/Dialog";
import { Note } from "../parts/Note";
import { ProblemNote } from "../parts/ProblemNote";
import { ReasonField } from "../parts/ReasonField";
import { Confirm } from "./Confirm";
import { useChanged } from "./useChanged";

interface Props {
  title: string;
  /** What the button says that makes the change, such as "Roll back". */
  verb: string;
  danger?: boolean;
  /** The change that is asked for; null while something is missing. */
  change: (reason: string) => Change | null;
  onClose: () => void;
  children?: ReactNode;
}

interface Shown {
  change: Change;
  given: ConfirmationGiven;
}

/** A change by hand: first what is to change and why, then what it does, to be confirmed within a minute. */
export function ChangeDialog({ title, verb, danger = false, change, onClose, children }: Props) {
  const [reason, setReason] = useState("");
  const changed = useChanged();
  const show = useMutation({
    mutationFn: async ({ asked, key }: { asked: Change; key: string }): Promise<Shown> => ({
      change: asked,
      given: await preview({ body: asked, key }),
    }),
  });
  const confirm = useMutation({
    mutationFn: ({ shown, key }: { shown: Shown; key: string }) => make(shown.change, shown.given.confirmation, key),
    onSuccess: changed,
  });
  const asked = reason.trim() === "" ? null : change(reason.trim());

  function review() {
    confirm.reset();
    if (asked !== null) show.mutate({ asked, key: newKey() });
  }

  function submit(event: SyntheticEvent) {
    event.preventDefault();
    review();
  }

  return (
    <Dialog title={title} opened onClose={onClose}>
      {confirm.data !== undefined ? (
        <div className="stack">
          <Note tone="good">
            <strong>Done.</strong> {versionName(confirm.data.version)} in force for {scopeName(confirm.data.scope)}
            {confirm.data.holds.length > 0 && `, ${confirm.data.holds.map((one) => one.parameter).join(", ")} held`}.
          </Note>
          <Button onClick={onClose} data-autofocus>
            Close
          </Button>
        </div>
      ) : show.data !== undefined ? (
        <Confirm
          given={show.data.given}
          verb={verb}
          danger={danger}
          making={confirm.isPending}
          error={confirm.error}
          onBack={() => show.reset()}
          onAgain={review}
          onConfirm={() => confirm.mutate({ shown: show.data, key: newKey() })}
        />
      ) : (
        <form className="stack" onSubmit={submit}>
          {children}
          <ReasonField value={reason} onChange={setReason} />
          {show.error !== null && <ProblemNote error={show.error} />}
          <div className="row">
            <Button type="submit" disabled={asked === null} loading={show.isPending}>
              Review
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
