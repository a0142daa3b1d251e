"""docs/images/<rig>.png: each rig's URDF as viewers draw it, bent as its simulation bends.

    python -m bench.pictures

VTK draws, off the screen; xacro and kinpy, which know nothing of this project, say where links are.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import kinpy
import numpy as np
import vtk
import xacro

from soft_control.rigs import make_rig
from soft_control.robots.links import LINKS, urdf_file

SIZE = 1200, 750
ZOOM = 1.35
"""VTK leaves room for a sphere about everything."""
SAMPLES = 8
"""Of a pixel's edge, against steps in lines."""
WIDTH_M = 6e-4
"""Of the trail, of a robot that is a decimetre large."""
TRAIL = (0.95, 0.50, 0.10)


@dataclass(frozen=True)
class View:
    """How a rig is looked at, and what it has done before."""

    amplitude: tuple[float, ...]
    """Of each command, as a share of half its range."""
    cycles: tuple[float, ...]
    """Of each command in the time that the trail shows."""
    phase: tuple[float, ...]
    """Of each command, in turns."""
    camera: tuple[float, float, float]
    focus: tuple[float, float, float]
    seconds: float = 8.0
    width: float = 1.0
    """Of lines, as a multiple."""


VIEWS = {
    "tendon": View((0.75, 0.9), (2, 1), (-0.12, 0.13), (0.14, -0.26, 0.10), (-0.045, 0.0, -0.012)),
    "hasel": View(
        (0.9,) * 6,
        (1,) * 6,
        (0, 1 / 3, 2 / 3, 1 / 6, 1 / 2, 5 / 6),
        (0.19, -0.33, 0.06),
        (0.0, 0.0, -0.045),
    ),
    "mass_spring_damper": View(
        (0.75,), (1,), (0.07,), (0.17, -0.55, 0.25), (0.01, 0.0, -0.01), width=2.0
    ),
}


def moved(robot: str, view: View) -> tuple[np.ndarray, np.ndarray]:
    """The way of the tip (K, 3), m, under commands that go round, and the last command."""
    rig = make_rig(robot)
    rate_hz = rig.description.rate_hz
    middle, reach = (rig.command_min + rig.command_max) / 2, (rig.command_max - rig.command_min) / 2
    samples = round(view.seconds * rate_hz)
    tips = []
    for k in range(2 * samples):  # the first time from rest, the second is shown
        turns = np.array(view.cycles) * k / samples + view.phase
        command = middle + reach * np.array(view.amplitude) * np.sin(2 * np.pi * turns)
        rig.step(command, 1 / rate_hz)
        tips.append(rig.description.groups[0].place(rig.outputs()))
    return np.array(tips[samples:]), command


class Drawing:
    """A robot's URDF."""

    def __init__(self, robot: str) -> None:
        text = xacro.process_file(str(urdf_file(robot))).toxml()
        self.urdf = ElementTree.fromstring(text)
        self.chain = kinpy.build_chain_from_urdf(text)
        self.colours = {
            material.get("name"): [float(c) for c in material.find("color").get("rgba").split()]
            for material in self.urdf.findall("material")
        }

    def actors(self, joints: dict[str, float], opacity: float) -> Iterator[vtk.vtkActor]:
        """All that there is to be seen of it, where its joints stand so."""
        values = dict.fromkeys(self.chain.get_joint_parameter_names(), 0.0) | joints
        for joint in self.urdf.iter("joint"):
            mimic = joint.find("mimic")
            if mimic is not None:
                factor = float(mimic.get("multiplier", 1))
                values[joint.get("name")] = factor * joints.get(mimic.get("joint"), 0.0)
        places = self.chain.forward_kinematics(values)
        for link in self.urdf.iter("link"):
            for visual in link.findall("visual"):
                actor = shape(visual.find("geometry")[0])
                colour = self.colours[visual.find("material").get("name")]
                surface(actor, colour[:3], opacity * colour[3])
                at = places[link.get("name")].matrix() @ origin(visual.find("origin"))
                actor.SetUserMatrix(matrix(at))
                yield actor


def numbers(element: ElementTree.Element | None, key: str) -> list[float]:
    text = element.get(key) if element is not None else None
    return [float(value) for value in (text or "0 0 0").split()]


def origin(element: ElementTree.Element | None) -> np.ndarray:
    """(4, 4)."""
    return kinpy.Transform(numbers(element, "rpy"), numbers(element, "xyz")).matrix()


def matrix(values: np.ndarray) -> vtk.vtkMatrix4x4:
    found = vtk.vtkMatrix4x4()
    found.DeepCopy(np.asarray(values, dtype=float).ravel().tolist())
    return found


def shape(geometry: ElementTree.Element) -> vtk.vtkActor:
    """A box, cylinder or sphere of a URDF."""
    if geometry.tag == "box":
        source = vtk.vtkCubeSource()
        lengths = numbers(geometry, "size")
        source.SetXLength(lengths[0])
        source.SetYLength(lengths[1])
        source.SetZLength(lengths[2])
    elif geometry.tag == "sphere":
        source = vtk.vtkSphereSource()
        source.SetRadius(float(geometry.get("radius")))
        source.SetThetaResolution(48)
        source.SetPhiResolution(48)
    else:
        upright = vtk.vtkCylinderSource()  # along y; a URDF's is along z
        upright.SetRadius(float(geometry.get("radius")))
        upright.SetHeight(float(geometry.get("length")))
        upright.SetResolution(64)
        turn = vtk.vtkTransform()
        turn.RotateX(90)
        source = vtk.vtkTransformFilter()
        source.SetTransform(turn)
        source.SetInputConnection(upright.GetOutputPort())
    return actor_of(source)


def actor_of(source: vtk.vtkAlgorithm) -> vtk.vtkActor:
    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputConnection(source.GetOutputPort())
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    return actor


def surface(actor: vtk.vtkActor, colour: list[float], opacity: float) -> None:
    looks = actor.GetProperty()
    looks.SetColor(*colour)
    looks.SetOpacity(opacity)
    looks.SetAmbient(0.35)
    looks.SetDiffuse(0.7)
    looks.SetSpecular(0.15)
    looks.SetSpecularPower(20)


def line(rows: np.ndarray, colour: tuple[float, ...], width_m: float) -> vtk.vtkActor:
    points = vtk.vtkPoints()
    for row in rows.tolist():
        points.InsertNextPoint(row)
    curve = vtk.vtkPolyLine()
    curve.GetPointIds().SetNumberOfIds(len(rows))
    for i in range(len(rows)):
        curve.GetPointIds().SetId(i, i)
    cells = vtk.vtkCellArray()
    cells.InsertNextCell(curve)
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetLines(cells)
    tube = vtk.vtkTubeFilter()
    tube.SetInputData(data)
    tube.SetRadius(width_m)
    tube.SetNumberOfSides(16)
    actor = actor_of(tube)
    surface(actor, list(colour), 1.0)
    return actor


def draw(robot: str, file: Path) -> None:
    """The robot at the end of its way, and the way of its tip."""
    view = VIEWS[robot]
    way, command = moved(robot, view)
    names = make_rig(robot).description.command_names
    told = dict(zip(names, command.tolist(), strict=True))
    links, drawing = LINKS[robot], Drawing(robot)
    joints = links.of_tip(way[-1]) | {name: told[name] for name in links.commanded}

    scene = vtk.vtkRenderer()
    scene.SetBackground(1.0, 1.0, 1.0)
    for actor in drawing.actors(joints, 1.0):
        scene.AddActor(actor)
    camera = scene.GetActiveCamera()
    camera.SetPosition(*view.camera)
    camera.SetFocalPoint(*view.focus)
    camera.SetViewUp(0, 0, 1)
    camera.SetViewAngle(30)
    scene.ResetCamera()
    camera.Zoom(ZOOM)
    over = vtk.vtkRenderer()  # the trail is seen through the robot, else half of it is hidden
    over.SetLayer(1)
    over.SetActiveCamera(camera)
    over.AddActor(line(way, TRAIL, view.width * WIDTH_M))
    over.ResetCameraClippingRange()
    scene.ResetCameraClippingRange()
    for place, strength in (((0.3, -0.5, 0.8), 0.9), ((-0.6, -0.4, 0.3), 0.35)):
        light = vtk.vtkLight()
        light.SetPosition(*place)
        light.SetFocalPoint(*view.focus)
        light.SetIntensity(strength)
        scene.AddLight(light)
        over.AddLight(light)

    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(SAMPLES)
    window.SetSize(*SIZE)
    window.SetNumberOfLayers(2)
    window.AddRenderer(scene)
    window.AddRenderer(over)
    window.Render()
    picture = vtk.vtkWindowToImageFilter()
    picture.SetInput(window)
    picture.ReadFrontBufferOff()
    picture.Update()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(file))
    writer.SetInputConnection(picture.GetOutputPort())
    writer.Write()


def main() -> None:
    folder = Path(__file__).parents[1] / "docs" / "images"
    folder.mkdir(exist_ok=True)
    for robot in VIEWS:  # a second opinion looks like the rig that it is one of
        draw(robot, folder / f"{robot}.png")
        print(folder / f"{robot}.png")


if __name__ == "__main__":
    main()
