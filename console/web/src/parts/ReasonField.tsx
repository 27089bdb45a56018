import { Textarea } from "@mantine/core";

interface Props {
  value: string;
  onChange: (value: string) => void;
}

export const LONGEST_REASON = 2_000;

/** Why something is done; it stands in the audit trail for good. */
export function ReasonField({ value, onChange }: Props) {
  return (
    <Textarea
      label="Reason"
      description="Stands in the audit trail for good, with your name."
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      maxLength={LONGEST_REASON}
      rows={2}
      required
    />
  );
}
