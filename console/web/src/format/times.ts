const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Date and time of day in UTC: 2026-11-22 02:44. */
export function utc(moment: string, withSeconds = false): string {
  const text = new Date(moment).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, withSeconds ? 19 : 16)}`;
}

export function utcDate(moment: string): string {
  return new Date(moment).toISOString().slice(0, 10);
}

/** A moment in seconds of the epoch as it stands at an axis whose ticks are that many seconds apart. */
export function utcTick(seconds: number, apart: number): string {
  const text = new Date(seconds * 1000).toISOString();
  if (apart >= 28 * DAY) return text.slice(0, 7);
  return apart >= DAY ? text.slice(5, 10) : text.slice(11, 16);
}

/** Seconds in words, with the two largest units: 2 d 3 h. */
export function duration(seconds: number): string {
  const whole = Math.round(Math.abs(seconds));
  const [days, hours, minutes] = [Math.floor(whole / DAY), Math.floor((whole % DAY) / HOUR), Math.floor((whole % HOUR) / MINUTE)];
  if (days >= 10 || (days > 0 && hours === 0)) return `${days} d`;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return minutes === 0 ? `${hours} h` : `${hours} h ${minutes} min`;
  if (minutes >= 10 || (minutes > 0 && whole % MINUTE === 0)) return `${minutes} min`;
  if (minutes > 0) return `${minutes} min ${whole % MINUTE} s`;
  return `${whole} s`;
}

/** How long ago, or in how long, by a clock that says `now` (milliseconds). */
export function relative(moment: string, now: number): string {
  const seconds = (Date.parse(moment) - now) / 1000;
  if (Math.abs(seconds) < 5) return "now";
  return seconds < 0 ? `${duration(seconds)} ago` : `in ${duration(seconds)}`;
}
