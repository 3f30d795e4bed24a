"""The page on which a person explores what the model looks at: its files, pictures, and the maps of a picture."""

import asyncio
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse

from gcvit.data.members import FileInMemory
from gcvit.data.shapes import ShapesDataset
from gcvit.explain.settings import Cam, Kind
from gcvit.serve.views import Explorer, Gone, View, as_lists
from gcvit.wording import count, harmless

STATIC = Path(__file__).parent / "static"
FILES = {"": "index.html", "page.css": "page.css", "page.js": "page.js", "icon.svg": "icon.svg"}
EXAMPLES = 6  # of the built-in pictures
SIZE = 224

Part = Annotated[float, Query(ge=0, lt=1)]
Number = Annotated[int, Query(ge=0)]


def add_page(app: FastAPI, explorer: Explorer) -> None:
    """Give an app the page of a model."""
    opened = explorer.opened

    for path, name in FILES.items():
        app.get(f"/{path}")(_file(STATIC / name))

    @app.get("/model")
    async def model() -> Response:
        what = f"{opened.source or opened.name}: {count(opened.parameters)} parameters, it {opened.task.does}"
        examples = [str(number) for number in range(EXAMPLES)] if opened.pixels.channels == 3 else []
        return JSONResponse({"described": harmless(what, keep=""), "examples": examples})

    @app.post("/pictures")
    async def send(request: Request, name: str = "picture") -> Response:
        return await view_of(FileInMemory(harmless(name[:200], keep=""), await request.body()))

    @app.get("/examples/{number}.png")
    async def example(number: int) -> Response:
        return Response(_example(number).content, media_type="image/png")

    @app.post("/examples/{number}")
    async def show_example(number: int) -> Response:
        return await view_of(_example(number))

    @app.get("/pictures/{name}.png")
    async def picture(name: str) -> Response:
        return Response(kept(name).as_seen(), media_type="image/png")

    @app.get("/pictures/{name}")
    async def again(name: str) -> Response:
        return JSONResponse(kept(name).told())

    @app.get("/pictures/{name}/point")
    async def point(
        name: str,
        stage: Number,
        block: Number,
        x: Part,
        y: Part,
        head: Number | Literal["mean"] = "mean",
        map: Kind = "image",
    ) -> Response:
        view = kept(name)
        return JSONResponse(as_lists(view.at_point((stage, block), None if head == "mean" else head, x, y, map)))

    @app.get("/pictures/{name}/target")
    async def target(name: str, stage: Number, target: Number, cam: Cam = "element-wise") -> Response:
        maps = await asyncio.to_thread(explorer.speaks, kept(name), target, cam)
        if stage >= len(maps):
            raise HTTPException(404, f"the model has no stage {stage}")
        return JSONResponse(as_lists(maps[stage]))

    async def view_of(file: FileInMemory) -> Response:
        return JSONResponse((await asyncio.to_thread(explorer.view, file)).told())

    def kept(name: str) -> View:
        try:
            return explorer.kept(name)
        except Gone as error:
            raise HTTPException(404, str(error)) from None


def _file(path: Path) -> Callable[[], Any]:
    async def give() -> Response:
        return FileResponse(path, headers={"cache-control": "no-cache"})

    return give


@cache
def _example(number: int) -> FileInMemory:
    """One of the built-in pictures. Raises HTTPException for a number that none has."""
    if not 0 <= number < EXAMPLES:
        raise HTTPException(404, f"there are {EXAMPLES} examples")
    picture, _ = ShapesDataset("test", EXAMPLES, (SIZE, SIZE))[number]
    content = BytesIO()
    picture.save(content, "PNG")
    return FileInMemory(f"example {number + 1}", content.getvalue())
