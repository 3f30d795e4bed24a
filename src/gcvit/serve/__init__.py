"""A trained model behind HTTP: answers for programs, and a page on which a person sees what it looks at."""
