/** Something that only a person knows. `text` can come from a server: whoever shows it takes it for untrusted. */
export interface Question {
  readonly text: string;
  /** What is typed is not shown. */
  readonly secret: boolean;
}

/** Puts a question to the person who wants the connection. Undefined: there is no answer and none to further questions. */
export type Ask = (question: Question) => Promise<string | undefined>;
