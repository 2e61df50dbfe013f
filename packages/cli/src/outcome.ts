/** How a command ended: the JSON of its answer, the exit status, and the text for people. */
export interface Outcome {
  /** One object, one line; absent where the command has written its stream itself. */
  readonly value?: object;
  readonly exit: number;
  /** Lines for a person at a terminal, without the last newline. Remote text in it is one line each; escapes are removed when it is shown. */
  readonly human: () => string;
}
