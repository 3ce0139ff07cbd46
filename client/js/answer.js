/**
 * What the outbox does about an answer. Only our own 202 or 200 that carries the session's id is a reason to
 * delete: a captive portal answers 200 to everything.
 */

/**
 * @typedef {{ type: string, title: string, status: number, [member: string]: unknown }} Problem RFC 9457
 * @typedef {"delete" | "pause" | "later" | "token" | "refuse" | "hold"} Action
 * @typedef {{ status: number, type?: string | null, text?: string }} Answer `type` is the Content-Type; status 0: no answer came
 */

/**
 * The longest Retry-After that is obeyed, in milliseconds. A stored time that is further away was written before
 * the device's clock was set back.
 */
export const LONGEST = 3_600_000;

/**
 * Decide what an answer to the session `id` means: delete it, pause the whole outbox, try this session later,
 * ask for a token, or keep it as refused.
 * @param {string} id
 * @param {Answer} answer
 * @returns {[Action, Problem?]}
 */
export function judge(id, { status, type, text = "" }) {
  /** @type {any} */
  let body;
  try {
    body = /[/+]json\b/i.test(/** @type {string} */ (type)) && JSON.parse(text);
  } catch {}
  if (status < 400) {
    // An echo of our own request has the attempts, too; the server's answer has none.
    const ours = [200, 202].includes(status) && !body?.attempts && String(body?.client_session_uuid).toLowerCase() == id;
    return [ours ? "delete" : "pause"];
  }
  // Above 501 there are only our 503, and answers of something between the device and us, such as a captive portal (511).
  if (status > 501 || [407, 408, 421, 425, 429].includes(status)) return ["pause"];
  if (status == 401) return ["token"];
  const ours = String(body?.type).startsWith("/problems/");
  return ours && [403, 409, 413, 422].includes(status) ? ["refuse", body] : ["later"];
}

/**
 * Read a Retry-After, a number of seconds or a date, as milliseconds: one hour at most, 0 if missing or unreadable.
 * @param {string | null} header
 */
export function retryAfter(header) {
  const wait = header ? +header * 1000 || Date.parse(header) - Date.now() : 0;
  return Math.min(Math.max(wait || 0, 0), LONGEST);
}
