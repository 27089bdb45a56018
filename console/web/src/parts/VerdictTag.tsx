import { inWords } from "../format/names";
import { Tag, type Tone } from "./Tag";

const TONES: Record<string, Tone> = {
  applied: "good",
  promote: "good",
  concluded: "good",
  shadow: "accent",
  ab: "accent",
  running: "accent",
  refused: "plain",
  keep: "plain",
  stopped: "warn",
  void: "warn",
  failed: "bad",
};

const NAMES: Record<string, string> = { ab: "A/B test" };

/** How a session or an experiment ended, or where it stands. */
export function VerdictTag({ verdict }: { verdict: string }) {
  return <Tag tone={TONES[verdict] ?? "plain"}>{NAMES[verdict] ?? inWords(verdict)}</Tag>;
}
